// Figures as people read them.

const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const count = (n) => whole.format(Math.round(n));

export const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : count(n));

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; bytes >= 1024 && at < units.length - 1; at++) bytes /= 1024;
  return (at === 0 ? bytes : bytes.toFixed(bytes < 10 ? 1 : 0)) + " " + units[at];
}

export function percent(part) {
  const p = 100 * part;
  return (p > 0 && p < 0.1 ? "< 0.1" : p.toFixed(p < 10 ? 1 : 0)) + " %";
}

// duration takes seconds.
export function duration(s) {
  if (s < 0.001) return Math.round(s * 1e6) + " µs";
  if (s < 0.01) return (s * 1e3).toFixed(1) + " ms";
  if (s < 1) return Math.round(s * 1e3) + " ms";
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 60) return Math.floor(s) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

export const words = (state) => state.replaceAll("_", " ");

export const time = (text) => clock.format(new Date(text));

export const dayAndTime = (text) => day.format(new Date(text)) + " " + time(text);
