// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them. Narrow no-break spaces keep a number and its unit together.

const space = "\u202f";
const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});

// Three digits that mean something: 1.23, 12.3, 123, 1,234.
function digits3(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  return size >= 99.95 ? whole.format(value) : value.toFixed(size >= 9.995 ? 1 : 2);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1000 && unit + 1 < units.length; ++unit) value /= 1024;
  return (unit === 0 ? whole.format(value) : digits3(value)) + space + units[unit];
}

export const count = (value) => whole.format(value);

// 45,123 -> 45.1k: for tight places
export function short_count(value) {
  if (value < 10000) return whole.format(value);
  return value < 1e6 ? `${digits3(value / 1e3)}k` : `${digits3(value / 1e6)}M`;
}

export function duration(ms) {
  if (ms < 9.95) return ms.toFixed(1) + space + "ms";
  if (ms < 999.5) return ms.toFixed(0) + space + "ms";
  if (ms < 59_950) return (ms / 1e3).toFixed(ms < 9950 ? 2 : 1) + space + "s";
  const seconds = Math.round(ms / 1e3);
  return `${Math.floor(seconds / 60)}${space}min ${seconds % 60}${space}s`;
}

export const rate = (per_second) => (per_second < 99.95 ? per_second.toFixed(1) : whole.format(per_second));

export function share(part, all) {
  if (!(all > 0)) return "–";
  const percent = (100 * part) / all;
  return (percent > 0 && percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)) + space + "%";
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
