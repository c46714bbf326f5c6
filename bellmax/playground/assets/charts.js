// Curves over steps: points are merged two by two where there are too many, each then a mean.

import { token } from "./colors.js";

const MOST = 1200;

/** One curve; `add` drops what lies after a step that was taken back. */
export class Curve {
  constructor() { this.points = []; }

  add(step, value, weight) {
    this.cut(step);
    if (value === null || !Number.isFinite(value)) return;
    this.points.push([step, value, weight]);
    if (this.points.length > MOST) this.points = merged(this.points);
  }

  cut(step) {
    while (this.points.length && this.points[this.points.length - 1][0] > step) this.points.pop();
  }

  get last() { return this.points.length ? this.points[this.points.length - 1][1] : null; }
}

function merged(points) {
  const fewer = [];
  for (let i = 0; i + 1 < points.length; i += 2) {
    const [, a, m] = points[i], [step, b, n] = points[i + 1];
    fewer.push([step, (a * m + b * n) / (m + n), m + n]);
  }
  if (points.length % 2) fewer.push(points[points.length - 1]);
  return fewer;
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

export function compact(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  return String(+value.toPrecision(3));
}

/** Draws curves [{curve, color, dash}] up to `end`; `logarithmic` values are above 0. `line` is a level to compare with. */
export function drawChart(canvas, curves, end, { logarithmic = false, line = null } = {}) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const shape = (value) => (logarithmic ? Math.log10(Math.max(value, 1e-12)) : value);
  let low = Infinity, high = -Infinity;
  const see = (value) => { low = Math.min(low, value); high = Math.max(high, value); };
  for (const { curve } of curves) for (const [, value] of curve.points) see(shape(value));
  if (line !== null) see(shape(line));
  if (!(low <= high)) { low = 0; high = 1; }
  if (logarithmic) { low = Math.floor(low); high = Math.max(Math.ceil(high), low + 1); }
  else if (high - low < 1e-9) { low -= 0.5; high += 0.5; }
  const left = 52, right = width - 12, top = 8, bottom = height - 22, last = Math.max(end, 10);
  const x = (step) => left + ((right - left) * step) / last;
  const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = token("--soft");
  context.strokeStyle = token("--line");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticks(low, high, 4)) {
    if (logarithmic && !Number.isInteger(Math.round(tick * 1e6) / 1e6)) continue;
    context.beginPath();
    context.moveTo(left, y(tick));
    context.lineTo(right, y(tick));
    context.stroke();
    context.fillText(logarithmic ? compact(10 ** tick) : compact(tick), left - 6, y(tick));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of ticks(0, last, 5)) context.fillText(compact(tick), Math.min(x(tick), right - 8), bottom + 6);
  if (line !== null) {
    context.strokeStyle = token("--soft");
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(left, y(shape(line)));
    context.lineTo(right, y(shape(line)));
    context.stroke();
    context.setLineDash([]);
  }
  context.lineWidth = 1.8;
  context.lineJoin = "round";
  for (const { curve, color, dash } of curves) {
    context.strokeStyle = context.fillStyle = color;
    context.setLineDash(dash);
    context.beginPath();
    curve.points.forEach(([step, value], i) => context[i ? "lineTo" : "moveTo"](x(step), y(shape(value))));
    context.stroke();
    context.setLineDash([]);
    if (curve.points.length === 1) context.fillRect(x(curve.points[0][0]) - 2, y(shape(curve.points[0][1])) - 2, 4, 4);
  }
}
