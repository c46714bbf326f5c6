// The WebSocket, and what its messages say. A frame: 4 bytes with the length of a header in JSON, then float64 arrays.

const LONGEST = 60000; // bytes of a command
const RECEIVED = '{"do":"received"}';

/** @param {ArrayBuffer} buffer A frame: its header, with `q` [S * A] and `visits` [S] of each table. */
export function readFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const table of frame.tables) {
    table.q = new Float64Array(buffer, at, frame.states * 4);
    at += frame.states * 32;
    table.visits = new Float64Array(buffer, at, frame.states);
    at += frame.states * 8;
  }
  return frame;
}

/** Connects, and calls `on.frame`, `on.message` or `on.closed`; returns a function that sends a command. */
export function connect(on) {
  const socket = new WebSocket(new URL("live", location.href).href.replace(/^http/, "ws").replace(/#.*$/, ""));
  socket.binaryType = "arraybuffer";
  const waiting = [];
  socket.onopen = () => { for (const text of waiting.splice(0)) socket.send(text); };
  socket.onmessage = (event) => {
    if (typeof event.data === "string") { on.message(JSON.parse(event.data)); return; }
    socket.send(RECEIVED);
    on.frame(readFrame(event.data));
  };
  socket.onclose = (event) => on.closed(event.code);
  return (word, rest = {}) => {
    const text = JSON.stringify({ do: word, ...rest });
    if (new TextEncoder().encode(text).length > LONGEST) { on.message({ kind: "refused", words: "this is too long to be a grid" }); return; }
    if (socket.readyState === WebSocket.CONNECTING) waiting.push(text);
    else if (socket.readyState === WebSocket.OPEN) socket.send(text);
  };
}
