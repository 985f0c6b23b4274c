// What layers do, in a sentence each.

const SENTENCES = [
  [/^(Depthwise)/, "Each map has a kernel of its own; maps are not mixed."],
  [/^(Separable)/, "Each map has a kernel of its own, and then weights mix the maps."],
  [/Transpose/, "Each number spreads a kernel over the output, where they add up."],
  [/^Conv/, "At every place the same kernel is multiplied by what is under it; the products and a bias add up."],
  [/^GlobalMax/, "The largest number of each map."],
  [/^GlobalAverage/, "The mean of each map."],
  [/Max(Pooling|Pool)/, "Only the largest number of each window goes on."],
  [/Average(Pooling|Pool)/, "The mean of each window goes on."],
  [/^Dense/, "Each unit weighs all numbers its own way; products and bias add up."],
  [/^Flatten/, "The numbers of all maps in one row, place by place."],
  [/^Reshape/, "The same numbers in another shape."],
  [/BatchNormalization/, "Each map is shifted and scaled by the mean and variance that training has seen."],
  [/Normalization/, "Numbers are brought to a mean of 0 and a spread of 1, then scaled."],
  [/(Dropout|Noise)/, "Does something in training only; here numbers pass as they are."],
  [/^Random/, "Changes pictures in training only; here they pass as they are."],
  [/^ReLU/, "Negative numbers become 0."],
  [/Softmax/, "Scores become shares of 1."],
  [/^Add$/, "Adds the maps of its sources, place by place."],
  [/^Concatenate/, "The maps of its sources, one after the other."],
  [/^Rescaling/, "Multiplies each number, and adds an offset."],
  [/^(ZeroPadding)/, "Adds a border of zeros."],
  [/^(UpSampling)/, "Repeats rows and columns."],
  [/^Cropping/, "Cuts a border off."],
  [/^Embedding/, "Each token stands for a row of a table."],
  [/(LSTM|GRU|SimpleRNN)/, "Reads step after step, and remembers."],
  [/Attention/, "Each place takes from others, by how well they match."],
];

export const sentence = (kind) => SENTENCES.find(([pattern]) => pattern.test(kind))?.[1] ?? "";
