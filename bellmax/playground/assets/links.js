// A grid in the address (#w=...) and in a file.

/** The part of an address that holds a grid. */
export function toLink(grid) {
  const bytes = new TextEncoder().encode(JSON.stringify(grid));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return `#w=${btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/** The grid of an address, or null if it has none. Throws where it is damaged. */
export function fromLink(hash) {
  if (!hash.startsWith("#w=")) return null;
  const text = atob(hash.slice(3).replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (each) => each.charCodeAt(0))));
}

/** Lets the reader save a grid as NAME.json. */
export function saveFile(grid) {
  const blob = new Blob([`${JSON.stringify(grid, null, 1)}\n`], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${grid.name.replace(/[^\w-]+/g, "-") || "grid"}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
