// The page's views, in order. README.md says what a view is.

export const VIEWS = [
  { name: "overview", title: "Overview", needs: ["input", "graph", "inspector"], has: () => true },
  { name: "training", title: "Training", module: "./training.js", needs: [], has: (model) => model.is_training },
];
