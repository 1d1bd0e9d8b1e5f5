// The products: creates, lists and deletes them, and says what the server found wrong, field by field.

const PAGE = 20;
/** The longest page the server gives. */
const LONGEST_PAGE = 1000;

const element = (id) => document.getElementById(id);

const cell = (text, className = '') => {
  const made = document.createElement('td');
  made.className = className;
  made.textContent = text;
  return made;
};

/** What a problem says, for people. */
const inWords = (problem) => [problem.detail, problem.hint].filter(Boolean).join(' ');

const problemOf = async (response) => {
  try {
    return await response.json();
  } catch {
    return { detail: `The server answered ${response.status}.` };
  }
};

export class Products {
  constructor() {
    this.shown = 0;
    this.stored = null;
    this.next = null;
    this.queue = Promise.resolve();
    element('product-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.soon(() => this.create(event.target));
    });
    element('more-products').addEventListener('click', () => this.soon(() => this.load(this.next, false)));
  }

  /** How many there are, from the metrics; if that is news, the list is fetched again. */
  count(stored) {
    element('product-count').textContent = stored === null ? '' : `${stored.toLocaleString('en')} stored`;
    if (stored !== this.stored) this.refresh();
    this.stored = stored;
  }

  refresh() {
    const limit = Math.min(LONGEST_PAGE, Math.max(PAGE, this.shown));
    this.soon(() => this.load(`/api/products?limit=${limit}`, true));
  }

  /** One thing after the other, so that no late answer overwrites a newer one. */
  soon(task) {
    this.queue = this.queue.then(task).catch(() => this.say('bad', 'No answer: the server cannot be reached.'));
  }

  async load(target, fromTheStart) {
    const response = await fetch(target, { signal: AbortSignal.timeout(10_000) });
    if (!response.ok) {
      this.say('bad', inWords(await problemOf(response)));
      return;
    }
    const products = await response.json();
    this.next = /<([^>]+)>; rel="next"/.exec(response.headers.get('Link') ?? '')?.[1] ?? null;
    this.shown = products.length + (fromTheStart ? 0 : this.shown);
    const rows = products.map((product) => this.row(product));
    const body = element('products').tBodies[0];
    if (fromTheStart) body.replaceChildren(...rows);
    else body.append(...rows);
    if (!this.shown) {
      const nothing = cell('None yet.', 'empty');
      nothing.colSpan = 5;
      body.insertRow().append(nothing);
    }
    element('more-products').hidden = !this.next;
  }

  row(product) {
    const row = document.createElement('tr');
    const remove = document.createElement('button');
    remove.type = 'button';
    remove.textContent = 'Delete';
    remove.setAttribute('aria-label', `Delete ${product.name}`);
    remove.addEventListener('click', () => this.soon(() => this.remove(product)));
    const id = cell(`${product.id.slice(0, 8)}…${product.id.slice(-4)}`, 'id');
    id.title = product.id;
    const last = cell('', 'number');
    last.append(remove);
    row.append(cell(product.name), cell(product.description), cell(String(product.price), 'number'), id, last);
    return row;
  }

  async create(form) {
    const fields = ['name', 'description', 'price'].map((name) => [name, form.elements[name].value]);
    // What is left empty is left out; and the price goes as it was typed: judging it is the server's part.
    const body = JSON.stringify(Object.fromEntries(fields.filter(([, value]) => value !== '')));
    const response = await fetch('/api/products', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
      signal: AbortSignal.timeout(10_000),
    });
    const problem = response.ok ? {} : await problemOf(response);
    const firstWrong = this.mark(form, problem.errors ?? []);
    if (!response.ok) {
      this.say('bad', inWords(problem));
      firstWrong?.focus();
      return;
    }
    this.say('good', `Created; it is at ${response.headers.get('Location')}`);
    form.reset();
    form.elements.name.focus();
    this.refresh();
  }

  /** Shows each error at its field; the first field that has one. */
  mark(form, errors) {
    const messages = new Map(errors.map(({ field, message }) => [field.replace('body -> ', ''), message]));
    const inputs = ['name', 'description', 'price'].map((name) => form.elements[name]);
    for (const input of inputs) {
      const message = messages.get(input.name) ?? '';
      element(`error-${input.name}`).textContent = message;
      input.setAttribute('aria-invalid', String(message !== ''));
    }
    return inputs.find((input) => messages.has(input.name));
  }

  async remove(product) {
    const response = await fetch(`/api/products/${product.id}`, { method: 'DELETE', signal: AbortSignal.timeout(10_000) });
    if (response.ok || response.status === 404) this.say('good', `Deleted ${product.name}`);
    else this.say('bad', inWords(await problemOf(response)));
    this.refresh();
  }

  say(tone, text) {
    element('product-message').dataset.tone = tone;
    element('product-message').textContent = text;
  }
}
