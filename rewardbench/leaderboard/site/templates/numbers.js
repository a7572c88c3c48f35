// How numbers are written, and elements made: foreign text only ever becomes a text node.
const UNDEFINED = "–";
const known = (value) => typeof value === "number" && Number.isFinite(value);
const proportion = (value, digits = 4) => {
  if (!known(value)) return UNDEFINED;
  const text = Math.abs(value).toFixed(digits).replace(/^0\./, ".");
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
};
const interval = (bounds, digits = 3) => (bounds ? `${proportion(bounds[0], digits)}–${proportion(bounds[1], digits)}` : "");
const signed = (value) => (known(value) ? (value >= 0 ? "+" : "") + proportion(value) : UNDEFINED);
const percent = (value) => (known(value) ? `${(Math.floor(value * 1000) / 10).toFixed(value === 1 ? 0 : 1)} %` : UNDEFINED);
const speed = (value) => (known(value) ? (value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))) : UNDEFINED);
const bytes = (value) => {
  if (!known(value)) return UNDEFINED;
  return value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(1)} GiB` : `${Math.max(1, Math.round(value / 2 ** 20))} MiB`;
};
const amount = (value) => {
  if (!known(value)) return UNDEFINED;
  for (const [size, name] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${name}`;
  }
  return String(value);
};
const whole = (value) => value.toLocaleString("en");

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};
const foreign = (text) => element("bdi", {}, text);
const drawn = (name, attributes = {}, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
