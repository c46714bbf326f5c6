// Colors of values: orange below zero, blue-green above, which people who confuse red and green can tell apart.

const SCALES = {
  light: { zero: [247, 247, 244], low: [201, 84, 28], high: [16, 122, 112], wall: [70, 82, 92], line: [203, 210, 214], ink: "#1d2a33", pale: "#ffffff", many: [88, 86, 170] },
  dark: { zero: [29, 40, 48], low: [224, 112, 52], high: [44, 164, 150], wall: [88, 102, 113], line: [58, 72, 83], ink: "#e9f0f4", pale: "#0c1318", many: [138, 134, 226] },
};

export const isDark = () => document.documentElement.dataset.theme === "dark";
export const scale = () => SCALES[isDark() ? "dark" : "light"];
export const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

const mixed = (from, to, share) => from.map((each, i) => Math.round(each + (to[i] - each) * share));

/** The color of a value between -largest and largest; the root makes small values visible. */
export function valueColor(value, largest) {
  const colors = scale();
  const share = largest > 0 && Number.isFinite(value) ? Math.min(1, Math.abs(value) / largest) : 0;
  return mixed(colors.zero, value < 0 ? colors.low : colors.high, Math.sqrt(share) * 0.92);
}

/** The color of an amount from 0 to largest. */
export function amountColor(amount, largest) {
  const share = largest > 0 && Number.isFinite(amount) ? Math.min(1, Math.max(0, amount) / largest) : 0;
  return mixed(scale().zero, scale().many, Math.sqrt(share) * 0.92);
}

/** Ink that can be read on a color. */
export function inkOn([r, g, b]) {
  const linear = [r, g, b].map((each) => { const c = each / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.3 ? "#10191f" : "#ffffff";
}

export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
