// The tour: ten steps, each a state of the page, a guess, and what is to be learned from it.
// `layer`, `map`, `place`, `example`: what is chosen. `guess`: a question, its options, which is right, and why.
// `part`: what the card shows besides, by name; tour.js makes it.

export const STEPS = [
  {
    title: "A picture is numbers", example: 3, layer: "input", part: "",
    text: "Each square is a number from 0 (black) to 1 (white). The network sees nothing else. Point at the picture in the panel to read its numbers, or draw a digit of your own.",
    guess: { asks: "How many numbers is a picture of 28 rows and 28 columns?", options: ["28", "56", "784"], right: 2, why: "28 × 28 = 784." },
  },
  {
    title: "A kernel by hand", example: 3, layer: "conv1", map: 2, place: [6, 12], part: "kernel", hides: true,
    text: "A kernel is nine weights. Laid over nine pixels, each weight is multiplied by the pixel under it. The nine products and the bias add up to one number.",
    guess: { asks: "Multiply and add up: which number comes out?", from: "window" },
  },
  {
    title: "Sliding", example: 3, layer: "conv1", map: 1, place: [0, 0], part: "slide",
    text: "The same nine weights visit every place. Each place gives one number, and together they make a map. What looks like the kernel lights up, wherever it is.",
    guess: { asks: "A window of 3 slides over 28 columns. At how many places does it fit?", options: ["25", "26", "28"], right: 1, why: "28 − 3 + 1 = 26: it starts at columns 0 to 25." },
  },
  {
    title: "Padding and stride", example: 3, layer: "conv1", map: 1, part: "sandbox",
    text: "A border of zeros (padding) lets the window start outside. A stride of 2 takes every second place. Try them here; the network has neither.",
    guess: { asks: "With a border of 1 and a stride of 2: how many rows come out of 28?", options: ["13", "14", "28"], right: 1, why: "floor((28 + 2 − 3) / 2) + 1 = 14." },
  },
  {
    title: "Several channels", example: 3, layer: "conv2", map: 2, part: "",
    text: "A map of the second convolution has a kernel for each map before it. Four sums and a bias make one number. The links show each map’s part: solid orange ones add, dashed purple ones take away.",
    guess: { asks: "Four maps, kernels of 3 × 3, one bias: how many weights has one map?", options: ["10", "36", "37"], right: 2, why: "4 × 3 × 3 + 1 = 37; and 8 such maps have 296." },
  },
  {
    title: "ReLU", example: 3, layer: "relu1", map: 2, part: "relu",
    text: "Negative numbers become 0; all others stay. Without this, two convolutions in a row could do no more than one.",
    guess: { asks: "What becomes of −1.5?", options: ["−1.5", "0", "1.5"], right: 1, why: "max(0, −1.5) = 0." },
  },
  {
    title: "Pooling", example: 3, layer: "pool2", map: 2, part: "",
    text: "Of every 2 × 2 numbers, only the largest goes on. What was seen is kept; exactly where is lost.",
    guess: { asks: "11 rows, two at a time: how many rows remain?", options: ["5", "6", "9"], right: 0, why: "floor((11 − 2) / 2) + 1 = 5; the odd edge is dropped." },
  },
  {
    title: "Flatten and dense", example: 7, layer: "dense", map: 7, part: "",
    text: "All maps become one row of numbers. Each digit has a weight for every one of them. Unit 7 adds up what speaks for a seven and subtracts what speaks against it.",
    guess: { asks: "Eight maps of 5 × 5: how many numbers are in the row?", options: ["40", "200", "2,000"], right: 1, why: "8 × 5 × 5 = 200." },
  },
  {
    title: "Softmax and loss", example: 10, layer: "softmax", map: 1, part: "loss",
    text: "Softmax turns scores into shares that add up to 1. The loss says how wrong they are: −ln of the right digit’s share. Choose the right digit.",
    guess: { asks: "When the right digit has a share of 1, what is the loss?", options: ["0", "1", "infinite"], right: 0, why: "−ln(1) = 0. The smaller the share, the larger the loss." },
  },
  {
    title: "Back, one step", example: 10, layer: "conv2", map: 2, part: "backward",
    text: "The network takes this 1 for a 7. Its gradient says for each weight how the loss changes when the weight grows. A small step moves every weight the other way.",
    guess: { asks: "After one step, the share of 1 will …", options: ["go down", "stay", "go up"], right: 2, why: "Press “One step” to see it. Learning is this, repeated for thousands of pictures." },
  },
];
