// Reads the Prometheus text format and reckons with it: sums, rates and quantiles. Knows nothing of the page.

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

const number = (text) => {
  if (text === '+Inf') return Infinity;
  if (text === '-Inf') return -Infinity;
  return Number(text);
};

const unescaped = (text) => text.replace(/\\(.)/g, (_, escaped) => (escaped === 'n' ? '\n' : escaped));

/** All samples of an exposition, by the name of their family. */
export class Snapshot {
  constructor(text) {
    this.families = new Map();
    for (const line of text.split('\n')) {
      const match = line.startsWith('#') ? null : SAMPLE.exec(line);
      if (!match) continue;
      const labels = {};
      for (const [, name, value] of (match[2] ?? '').matchAll(LABEL)) labels[name] = unescaped(value);
      if (!this.families.has(match[1])) this.families.set(match[1], []);
      this.families.get(match[1]).push({ labels, value: number(match[3]) });
    }
  }

  samples(name, wanted = () => true) {
    return (this.families.get(name) ?? []).filter(({ labels }) => wanted(labels));
  }

  /** The sum of the samples that are wanted; null if there is none. */
  sum(name, wanted) {
    const samples = this.samples(name, wanted);
    return samples.length ? samples.reduce((sum, { value }) => sum + value, 0) : null;
  }

  /** The labels of a family's first sample. */
  labels(name) {
    return this.samples(name)[0]?.labels ?? {};
  }

  /** A histogram's cumulative counts by upper bound, those that are wanted added up. */
  histogram(name, wanted) {
    const counts = new Map();
    for (const { labels, value } of this.samples(`${name}_bucket`, wanted)) {
      const bound = number(labels.le);
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
    return [...counts].sort(([a], [b]) => a - b);
  }
}

/** The quantile of what was observed between two histograms, straight lines drawn within buckets; null without any. */
export function quantile(q, before, after) {
  const earlier = new Map(before);
  const counts = after.map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (!(total > 0)) return null;
  const rank = q * total;
  let [lower, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= rank) {
      // Beyond the last finite bound nothing is known but that it is beyond.
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (rank - below)) / (count - below || 1);
    }
    [lower, below] = [bound, count];
  }
  return lower;
}

/** The last minutes of values, a point for each time they were asked for; a point without values is a gap. */
export class History {
  constructor(spanMs) {
    this.spanMs = spanMs;
    this.points = [];
  }

  add(point) {
    this.points.push(point);
    const from = point.at - this.spanMs;
    // One point older than the span stays, so that lines reach the edge.
    while (this.points.length > 2 && this.points[1].at < from) this.points.shift();
  }

  /** The point nearest to a moment. */
  nearest(at) {
    let best = null;
    for (const point of this.points) {
      if (!best || Math.abs(point.at - at) <= Math.abs(best.at - at)) best = point;
    }
    return best;
  }
}

const rounded = (value) => (value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2));
const trimmed = (text) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

/** Numbers as people read them; what is not known is a dash. */
export const show = {
  count: (value) => (value === null ? '–' : Math.round(value).toLocaleString('en')),
  rate(value) {
    if (value === null) return '–';
    if (value >= 1e6) return `${rounded(value / 1e6)}M`;
    if (value >= 1e4) return `${rounded(value / 1e3)}k`;
    return trimmed(rounded(value));
  },
  seconds(value) {
    if (value === null) return '–';
    if (value < 1e-3) return `${rounded(value * 1e6).replace(/\.\d+$/, '')} µs`;
    if (value < 1) return `${rounded(value * 1e3)} ms`;
    return `${rounded(value)} s`;
  },
  bytes(value) {
    if (value === null) return '–';
    return value >= 1e9 ? `${rounded(value / 1e9)} GB` : `${rounded(value / 1e6)} MB`;
  },
  /** A length of time in its two largest units. */
  duration(seconds) {
    const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
    let rest = Math.max(0, Math.round(seconds));
    const parts = [];
    for (const [unit, size] of units) {
      const whole = Math.floor(rest / size);
      rest -= whole * size;
      if (whole || (unit === 's' && !parts.length)) parts.push(`${whole} ${unit}`);
    }
    return parts.slice(0, 2).join(' ');
  },
};
