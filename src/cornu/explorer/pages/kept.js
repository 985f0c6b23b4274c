// What a tab remembers while it is open. In a frame, browsers may refuse to remember anything.

const meanwhile = new Map();

export function kept(name) {
  try { return sessionStorage.getItem(name) ?? ""; } catch { return meanwhile.get(name) ?? ""; }
}

export function keep(name, value) {
  try { sessionStorage.setItem(name, value); } catch { meanwhile.set(name, value); }
}
