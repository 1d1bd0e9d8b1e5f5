// A line chart of the last minutes: what it shows is also in its text. A gap in the values is a gap in the line.

const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [600, 100];

const svg = (name, attributes, parent) => {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  parent?.append(element);
  return element;
};

const html = (name, className, parent, text = '') => {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
};

/** The least of 1, 2, 2.5 and 5 times a power of ten that is not below a value: a limit that a reader can halve. */
const roundLimit = (value) => {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= value * 0.9999);
};

export class Chart {
  /** `series`: pairs of a point's key and its name, three at most. `least`: what the top stands for at the least. */
  constructor(figure, { title, unit = '', series, show, least }) {
    Object.assign(this, { title, unit, series, show, least });
    const top = html('div', 'top', figure);
    html('h2', '', top, title);
    const legend = html('div', 'legend', top);
    this.readings = series.map(([, name], index) => {
      const entry = html('span', `series-${index + 1}`, legend, `${name} `);
      return html('b', '', entry, '–');
    });
    this.plot = html('div', 'plot', figure);
    this.svg = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, this.plot);
    for (const y of [0, HEIGHT / 2, HEIGHT]) svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y, y2: y }, this.svg);
    this.area = svg('path', { class: 'area series-1' }, this.svg);
    this.lines = series.map((_, index) => svg('path', { class: `line series-${index + 1}` }, this.svg));
    this.cursor = svg('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' }, this.svg);
    this.limit = html('span', 'limit', this.plot);
    const axis = html('div', 'axis', figure);
    axis.setAttribute('aria-hidden', 'true');
    for (const label of ['5 min ago', '', 'now']) html('span', '', axis, label);
    this.middle = axis.children[1];
  }

  /** Draws a history up to `now`; `at` is the moment a reader points at, or null. */
  draw(history, now, at) {
    const values = history.points.flatMap((point) => this.series.map(([key]) => point[key] ?? 0));
    const limit = roundLimit(Math.max(this.least, ...values));
    const x = (point) => (WIDTH * (point.at - now + history.spanMs)) / history.spanMs;
    const y = (value) => HEIGHT * (1 - value / limit);
    this.series.forEach(([key], index) => {
      const runs = runsOf(history.points, key);
      const line = (run) => run.map((point) => `${x(point).toFixed(1)} ${y(point[key]).toFixed(2)}`).join('L');
      this.lines[index].setAttribute('d', runs.map((run) => `M${line(run)}${run.length === 1 ? 'h0.1' : ''}`).join(''));
      if (index === 0) {
        const closed = (run) => `M${line(run)}L${x(run.at(-1)).toFixed(1)} ${HEIGHT}L${x(run[0]).toFixed(1)} ${HEIGHT}Z`;
        this.area.setAttribute('d', runs.map(closed).join(''));
      }
    });
    this.limit.textContent = this.show(limit) + this.unit;
    this.read(history, now, at, x);
  }

  read(history, now, at, x) {
    const point = at === null ? history.points.at(-1) : history.nearest(at);
    const texts = this.series.map(([key]) => this.show(point?.[key] ?? null));
    texts.forEach((text, index) => { this.readings[index].textContent = text; });
    this.middle.textContent = at === null || !point ? '' : `${Math.round((now - point.at) / 1000)} s ago`;
    this.cursor.setAttribute('visibility', at === null || !point ? 'hidden' : 'visible');
    if (at !== null && point) {
      this.cursor.setAttribute('x1', x(point));
      this.cursor.setAttribute('x2', x(point));
    }
    const told = this.series.map(([, name], index) => `${name} ${texts[index]}`).join(', ');
    this.svg.setAttribute('aria-label', `${this.title}${this.unit ? `, ${this.unit}` : ''}: ${told}`);
  }
}

/** The stretches of points that have a value. */
function runsOf(points, key) {
  const runs = [[]];
  for (const point of points) {
    if (point[key] === null || point[key] === undefined) runs.push([]);
    else runs.at(-1).push(point);
  }
  return runs.filter((run) => run.length);
}
