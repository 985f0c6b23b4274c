// The page's views, in order. README.md says what a view is.

export const VIEWS = [
  { name: "overview", title: "Overview", needs: ["input", "graph", "inspector"], has: () => true },
  { name: "backward", title: "Backward", module: "./backward.js", needs: ["input", "graph", "inspector"], has: (model) => !model.no_way_back },
  { name: "play", title: "Play", module: "./play.js", needs: ["input", "graph", "inspector"], has: () => true },
  { name: "batches", title: "Step by step", module: "./batches.js", needs: ["input", "graph", "inspector"], has: (model) => !model.no_batches },
  { name: "training", title: "Training", module: "./training.js", needs: [], has: (model) => model.is_training || model.runs },
  { name: "tour", title: "Tour", module: "./tour.js", needs: ["input", "graph", "inspector"], has: () => true },
];
