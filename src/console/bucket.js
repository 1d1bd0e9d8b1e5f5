// The bucket to play with: takes tokens for as long as the button is held, and shows what the answers say of the rest.
//
// Asking costs a token, so nothing is known before the first answer. Between answers the tokens are reckoned from the last
// one and the refill rate; the next answer corrects that.

const TAPE_LENGTH = 48;
/** Held this long, the button hammers. */
const HOLD_MS = 350;
/** No two requests of a hammering button begin closer to each other than this. */
const HAMMER_MS = 80;
const REDRAW_MS = 100;
/** More tokens than this are shown as water. */
const MOST_DISCS = 40;
/** The room for discs and the space between them, in rem; the style sheet makes the vessel a little larger. */
const [ROOM_WIDTH, ROOM_HEIGHT, GAP, LARGEST_DISC] = [7.5, 8, 0.25, 3];

/** In the order in which they are shown; the browser hides how they were spelled, so here is how. */
const FIELDS = ['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset', 'RateLimit-Policy', 'RateLimit',
  'Retry-After', 'Cache-Control', 'Content-Type', 'X-Request-Id'];

const element = (id) => document.getElementById(id);

/** A parameter of a structured field: `t` of `"policy";r=3;t=10`. */
const parameter = (field, name) => Number(new RegExp(`;${name}=(\\d+)`).exec(field ?? '')?.[1] ?? NaN);

/** The largest size at which so many discs fit into the vessel, in rem. */
const discSize = (count) => Math.max(...Array.from({ length: count }, (_, index) => {
  const [columns, rows] = [index + 1, Math.ceil(count / (index + 1))];
  return Math.min(LARGEST_DISC, (ROOM_WIDTH - GAP * (columns - 1)) / columns, (ROOM_HEIGHT - GAP * (rows - 1)) / rows);
}));

export class Bucket {
  constructor() {
    this.refillPerSecond = null;
    this.known = null;
    this.timer = null;
    this.isHeld = false;
    this.listen(element('take'));
  }

  /** The policy in force, from the metrics. */
  policy(capacity, refillPerSecond) {
    this.refillPerSecond = refillPerSecond;
    if (this.capacity !== capacity) {
      this.capacity = capacity;
      this.furnish();
      this.redraw();
    }
  }

  /** Whatever was known is no longer so: the server has been restarted. */
  forget() {
    this.known = null;
    this.redraw();
  }

  listen(button) {
    let pressed = false;
    const press = (event) => {
      event.preventDefault();
      button.focus();
      pressed = true;
      this.hold();
    };
    button.addEventListener('pointerdown', (event) => event.button === 0 && press(event));
    button.addEventListener('keydown', (event) => {
      if (event.key !== ' ' && event.key !== 'Enter') return;
      event.preventDefault();
      if (!event.repeat) press(event);
    });
    // What activates the button without pressing it, such as a screen reader, sends one.
    button.addEventListener('click', () => {
      if (!pressed) this.take();
    });
    const release = () => {
      this.isHeld = false;
      button.classList.remove('is-held');
      // The click that a press ends in comes before this.
      setTimeout(() => { pressed = false; });
    };
    for (const event of ['pointerup', 'pointercancel', 'blur']) addEventListener(event, release);
    button.addEventListener('blur', release);
    button.addEventListener('keyup', (event) => {
      event.preventDefault();
      release();
    });
    button.addEventListener('contextmenu', (event) => event.preventDefault());
    document.addEventListener('visibilitychange', release);
  }

  async hold() {
    this.isHeld = true;
    element('take').classList.add('is-held');
    this.press = (this.press ?? 0) + 1;
    const { press } = this;
    let pause = HOLD_MS;
    do {
      const begun = performance.now();
      await this.take();
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, pause - (performance.now() - begun))));
      pause = HAMMER_MS;
    } while (this.isHeld && this.press === press);
  }

  /** One protected action. */
  async take() {
    const begun = performance.now();
    try {
      const response = await fetch('/api/protected-action', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: '{"from":"console"}',
        cache: 'no-store',
        signal: AbortSignal.timeout(10_000),
      });
      const body = await response.text();
      this.answered(response, body, performance.now() - begun);
    } catch {
      this.say('failed', 'No answer: the server cannot be reached.');
    }
  }

  answered(response, body, tookMs) {
    this.learn(response.headers);
    const waitS = Number(response.headers.get('Retry-After'));
    const status = `${response.status}${response.statusText ? ` ${response.statusText}` : ''} in ${tookMs.toFixed(1)} ms`;
    if (response.ok) this.say('allowed', `${status}: allowed`);
    else if (response.status === 429) this.say('denied', `${status}: come back in ${waitS} s`);
    else this.say('failed', status);
    const rows = FIELDS.filter((name) => response.headers.has(name)).flatMap((name) => {
      const [term, value] = [document.createElement('dt'), document.createElement('dd')];
      term.textContent = name;
      value.textContent = response.headers.get(name);
      return [term, value];
    });
    element('answer-fields').replaceChildren(...rows);
    element('answer-body').textContent = body;
    element('answer-body').hidden = false;
  }

  /** Keeps what an answer says of the bucket. */
  learn(headers) {
    if (!headers.has('X-RateLimit-Remaining')) return;
    const whole = Number(headers.get('X-RateLimit-Remaining'));
    const nextS = parameter(headers.get('RateLimit'), 't');
    const [q, w] = ['q', 'w'].map((name) => parameter(headers.get('RateLimit-Policy'), name));
    this.policy(Number(headers.get('X-RateLimit-Limit')), this.refillPerSecond ?? q / w);
    // The answer counts in whole tokens and whole seconds, rounded against the asker: so is the part of a token here.
    const part = nextS > 0 ? Math.min(0.999, Math.max(0, 1 - nextS * this.refillPerSecond)) : 0;
    this.known = { tokens: Math.min(this.capacity, whole + part), at: performance.now() };
    this.redraw();
  }

  say(outcome, text) {
    const said = element('outcome');
    said.textContent = text;
    said.dataset.tone = { allowed: 'good', denied: 'bad', failed: 'bad' }[outcome];
    const mark = document.createElement('li');
    mark.dataset.outcome = outcome;
    const tape = element('tape');
    tape.append(mark);
    while (tape.children.length > TAPE_LENGTH) tape.firstChild.remove();
  }

  /** Tokens now, as a number with a fraction; null when nothing is known. */
  tokens() {
    if (!this.known) return null;
    const elapsedS = (performance.now() - this.known.at) / 1000;
    return Math.min(this.capacity, this.known.tokens + elapsedS * this.refillPerSecond);
  }

  furnish() {
    const vessel = element('vessel');
    const discs = this.capacity <= MOST_DISCS ? this.capacity : 0;
    const parts = Array.from({ length: discs || 1 }, () => {
      const part = document.createElement('div');
      part.className = discs ? 'token' : 'water';
      if (discs) part.style.setProperty('--size', `${discSize(discs)}rem`);
      return part;
    });
    vessel.replaceChildren(...parts);
    element('capacity').textContent = `of ${this.capacity.toLocaleString('en')}`;
  }

  redraw() {
    clearTimeout(this.timer);
    const tokens = this.tokens();
    this.pour(tokens);
    const isKnown = tokens !== null;
    const isFull = isKnown && tokens >= this.capacity;
    const untilS = (target) => (target - tokens) / this.refillPerSecond;
    const inWords = (seconds) => (seconds < 100 ? `in ${seconds.toFixed(1)} s` : `in ${Math.ceil(seconds / 60)} min`);
    const whole = isKnown ? Math.floor(tokens + 1e-9) : null;
    element('tokens').textContent = isKnown ? whole.toLocaleString('en') : '?';
    element('next-token').textContent = !isKnown ? '–' : isFull ? 'none to come' : inWords(untilS(whole + 1));
    element('full-in').textContent = !isKnown ? '–' : isFull ? 'now' : inWords(untilS(this.capacity));
    const told = isKnown ? `${whole} of ${this.capacity} tokens` : 'Tokens unknown: asking costs one';
    element('vessel').setAttribute('aria-label', told);
    if (isKnown && !isFull) this.timer = setTimeout(() => this.redraw(), REDRAW_MS);
  }

  pour(tokens) {
    const vessel = element('vessel');
    vessel.classList.toggle('unknown', tokens === null);
    [...vessel.children].forEach((part, index) => {
      if (part.className === 'water') {
        part.style.height = `${(100 * (tokens ?? 0)) / this.capacity}%`;
        return;
      }
      const fill = Math.min(1, Math.max(0, (tokens ?? 0) - index));
      part.style.setProperty('--fill', fill.toFixed(3));
      part.dataset.full = fill >= 1;
    });
  }
}
