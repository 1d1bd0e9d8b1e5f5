// Asks the server how it is, every other second while somebody looks, and shows the answers.
//
// It sees what /metrics and /api/ready show, and nothing else. What it has seen is kept here, for five minutes.

import { Bucket } from './bucket.js';
import { Chart } from './chart.js';
import { History, Snapshot, quantile, show } from './metrics.js';
import { Products } from './products.js';

const POLL_MS = 2_000;
const PATIENCE_MS = 5_000;
const SPAN_MS = 5 * 60_000;

/** What this page and its kind ask for: not counted as work. */
const OWN = new Set(['metrics', 'ready', 'console', 'docs', 'openapi', 'root']);
const isWork = ({ handler }) => !OWN.has(handler);

const DECISIONS = [
  ['allowed', 'a token was there', true],
  ['denied', 'no token', false],
  ['denied_remembered', 'no token yet, answered from memory', false],
  ['allowed_local', 'without Redis, by this process', true],
  ['denied_local', 'without Redis, by this process', false],
  ['fail_open', 'without Redis, let through', true],
  ['fail_closed', 'without Redis, refused', false],
];

/** What should not happen: its name, how often it has, and whether it means anything without Redis. */
const TROUBLE = [
  ['Answers of 500 and above', (now) => now.sum('http_requests_total', ({ status }) => status >= '500'), false],
  ['Requests the HTTP engine refused', (now) => now.sum('http_server_rejected_total'), false],
  ['Panics caught', (now) => now.sum('http_server_worker_panics_total'), false],
  ['Log lines dropped', (now) => now.sum('log_records_dropped_total'), false],
  ...['timeout', 'io', 'script', 'other'].map((kind) => [
    `Redis errors: ${kind}`, (now) => now.sum('redis_errors_total', (labels) => labels.kind === kind), true]),
  ['Redis pool exhausted', (now) => now.sum('redis_pool_timeouts_total'), true],
  ['Breaker opened', (now) => now.sum('circuit_breaker_transitions_total', ({ to }) => to === 'open'), true],
];

const element = (id) => document.getElementById(id);
const plural = (count, word) => `${show.count(count)} ${word}${count === 1 ? '' : 's'}`;

const charts = [
  ['decisions', 'Decisions', '/s', [['allowed', 'allowed'], ['denied', 'denied']], show.rate, 1],
  ['answers', 'Answers', '/s', [['good', '2xx, 3xx'], ['refused', '4xx'], ['failed', '5xx']], show.rate, 1],
  ['latency', 'Request latency', '', [['latency50', 'p50'], ['latency99', 'p99']], show.seconds, 1e-3],
  ['check', 'Limiter call', '', [['check50', 'p50'], ['check99', 'p99']], show.seconds, 1e-3],
  ['connections', 'Connections', '', [['connections', 'open'], ['inFlight', 'requests in flight']], show.rate, 4],
  ['memory', 'Memory', '', [['memory', 'resident']], show.bytes, 1e7],
].map(([id, title, unit, series, format, least]) =>
  new Chart(element(`chart-${id}`), { title, unit, series, show: format, least }));

const history = new History(SPAN_MS);
const bucket = new Bucket();
const products = new Products();
let last = null;
let lastAnswerAt = null;
let pointedAt = null;
let timer = null;

/** The change of counters between two snapshots, as points of the history have it; a restart begins anew. */
function pointOf(before, now, at) {
  const gauges = {
    at,
    inFlight: now.sum('http_requests_in_progress'),
    connections: now.sum('http_server_connections'),
    memory: now.sum('process_resident_memory_bytes'),
    trouble: TROUBLE.map(([, count]) => count(now) ?? 0),
  };
  if (!before) return gauges;
  const seconds = (at - before.at) / 1000;
  const rate = (name, wanted) => Math.max(0, (now.sum(name, wanted) ?? 0) - (before.sum(name, wanted) ?? 0)) / seconds;
  const answers = (from, below) => rate('http_requests_total', (labels) => isWork(labels) && labels.status >= from && labels.status < below);
  const decision = (name) => rate('rate_limit_decisions_total', (labels) => labels.decision === name);
  const decisions = DECISIONS.map(([name]) => decision(name));
  const decided = (allows) => DECISIONS.reduce((sum, [, , allowed], index) => sum + (allowed === allows ? decisions[index] : 0), 0);
  const between = (q, name, wanted) => quantile(q, before.histogram(name, wanted), now.histogram(name, wanted));
  return {
    ...gauges,
    decisions,
    allowed: decided(true),
    denied: decided(false),
    good: answers('200', '400'),
    refused: answers('400', '500'),
    failed: answers('500', '600'),
    latency50: between(0.5, 'http_request_duration_seconds', isWork),
    latency99: between(0.99, 'http_request_duration_seconds', isWork),
    check50: between(0.5, 'rate_limit_check_duration_seconds'),
    check99: between(0.99, 'rate_limit_check_duration_seconds'),
    cpu: rate('process_cpu_seconds_total'),
  };
}

const SINCE = { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' };
const startOf = (snapshot) => snapshot?.sum('process_start_time_seconds') ?? null;

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const [metrics, ready] = await Promise.all(['/metrics', '/api/ready'].map((path) =>
      fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) })));
    // Somebody else may answer in the server's place, a proxy for instance.
    if (!metrics.ok || !(ready.ok || ready.status === 503)) throw new Error('not the server');
    const [text, readiness] = await Promise.all([metrics.text(), ready.json()]);
    answered(new Snapshot(text), readiness);
  } catch {
    missed();
  }
  draw();
  clearTimeout(timer);
  timer = setTimeout(poll, POLL_MS);
}

function answered(now, readiness) {
  now.at = Date.now();
  const restarted = last !== null && startOf(last) !== startOf(now);
  if (restarted) bucket.forget();
  // After a pause nobody knows how the change was spread over it.
  const fresh = last !== null && !restarted && now.at - last.at < 5 * POLL_MS;
  if (last !== null && !fresh) history.add({ at: now.at - 1 });
  history.add(pointOf(fresh ? last : null, now, now.at));
  if (document.body.classList.contains('is-gone')) products.refresh();
  [last, lastAnswerAt] = [now, now.at];
  document.body.classList.remove('is-gone');
  element('gone').hidden = true;
  tellFacts(now, readiness);
  tellDecisions(now);
  tellTrouble(now, readiness.redis !== 'not configured');
  bucket.policy(now.sum('rate_limit_capacity'), now.sum('rate_limit_refill_per_second'));
  products.count(now.sum('products_stored'));
}

function missed() {
  const at = Date.now();
  history.add({ at });
  document.body.classList.add('is-gone');
  const since = lastAnswerAt === null ? '' : ` for ${show.duration((at - lastAnswerAt) / 1000)}`;
  element('gone').textContent = `The server has not answered${since}. What is shown below is old. Asking again every ${POLL_MS / 1000} seconds.`;
  element('gone').hidden = false;
  tellState('gone', 'no answer');
}

function draw() {
  const now = Date.now();
  for (const chart of charts) chart.draw(history, now, pointedAt === null ? null : now - pointedAt);
}

function tell(id, text, { tone = '', small = '' } = {}) {
  const fact = element(id);
  fact.textContent = text;
  fact.dataset.tone = tone;
  if (small) {
    const note = document.createElement('small');
    note.textContent = small;
    fact.append(note);
  }
}

function tellState(state, text) {
  element('state').dataset.state = state;
  element('state').textContent = text;
  document.title = state === 'ready' ? 'Tollgate' : `${text} – Tollgate`;
}

const LIMITERS = {
  embedded: ['embedded', 'in this process alone'],
  redis: ['Redis', 'shared by all replicas'],
  local: ['this process', 'its share, until Redis answers'],
  allow: ['nobody', 'all let through until Redis answers'],
  deny: ['nobody', 'all refused until Redis answers'],
};
const BREAKERS = {
  none: ['none', '', 'no Redis to guard'],
  closed: ['closed', 'good', 'calls go through'],
  open: ['open', 'bad', 'Redis is not asked'],
  half_open: ['half open', 'warn', 'one call tries Redis'],
};

function tellFacts(now, { status, limiter, redis, breaker, draining }) {
  tellState(draining ? 'draining' : status, draining ? 'draining' : status);
  const [decides, where] = LIMITERS[limiter] ?? [limiter, ''];
  tell('fact-limiter', decides, { small: where, tone: limiter === 'embedded' || limiter === 'redis' ? '' : 'warn' });
  const pool = (state) => show.count(now.sum('redis_pool_connections', (labels) => labels.state === state));
  const connections = redis === 'not configured' ? 'REDIS_URL shares the limit'
    : `pool: ${pool('used')} used, ${pool('idle')} idle`;
  tell('fact-redis', redis, { small: connections, tone: { up: 'good', down: 'bad' }[redis] });
  const [state, tone, meaning] = BREAKERS[breaker] ?? [breaker, '', ''];
  tell('fact-breaker', state, { tone, small: meaning });
  const refill = now.sum('rate_limit_refill_per_second');
  const every = refill >= 1 ? `${show.rate(refill)} back each second` : `one back every ${show.rate(1 / refill)} s`;
  tell('fact-limit', plural(now.sum('rate_limit_capacity'), 'token'), { small: every });
  tell('fact-memory', plural(now.sum('rate_limit_tracked_buckets'), 'bucket'), {
    small: `${plural(now.sum('rate_limit_remembered_denials'), 'denial')} remembered` });
  const cpu = history.points.at(-1).cpu ?? null;
  tell('fact-workers', `${show.count(now.sum('http_server_workers_busy'))} of ${show.count(now.sum('http_server_workers'))}`, {
    small: cpu === null ? '' : `${show.rate(cpu * 100)} % of a core` });
  const started = startOf(now);
  tell('fact-uptime', started === null ? '–' : show.duration(now.at / 1000 - started), {
    small: started === null ? '' : `since ${new Date(started * 1000).toLocaleString([], SINCE)}` });
  const build = now.labels('tollgate_build_info');
  element('version').textContent = build.version ?? '';
  element('version').title = `commit ${build.commit}, ${build.rustc}`;
}

/** Rows of a table whose first cell is a heading; made once, then written to. */
function rowOf(table, index) {
  const body = element(table).tBodies[0];
  const made = body.rows[index];
  if (made) return made;
  const row = body.insertRow();
  const heading = document.createElement('th');
  heading.scope = 'row';
  row.append(heading);
  for (let count = 0; count < 2; count += 1) row.insertCell().className = 'number';
  return row;
}

function tellDecisions(now) {
  DECISIONS.forEach(([name, meaning], index) => {
    const row = rowOf('decisions', index);
    if (!row.cells[0].textContent) {
      const note = document.createElement('small');
      note.textContent = meaning;
      row.cells[0].append(name, ' ', note);
    }
    const total = now.sum('rate_limit_decisions_total', ({ decision }) => decision === name) ?? 0;
    row.cells[1].textContent = show.rate(history.points.at(-1).decisions?.[index] ?? null);
    row.cells[2].textContent = show.count(total);
    row.className = total ? '' : 'is-zero';
  });
}

/** How often since the oldest point within reach; what came before a restart is counted too. */
function recent(index) {
  let [count, before] = [0, null];
  for (const { trouble } of history.points) {
    if (!trouble) continue;
    if (before !== null) count += trouble[index] >= before ? trouble[index] - before : trouble[index];
    before = trouble[index];
  }
  return count;
}

function tellTrouble(now, hasRedis) {
  TROUBLE.forEach(([name, count, needsRedis], index) => {
    const row = rowOf('trouble', index);
    const lately = recent(index);
    row.cells[0].textContent = name;
    row.cells[1].textContent = show.count(lately);
    row.cells[2].textContent = show.count(count(now) ?? 0);
    row.className = lately ? 'is-hot' : 'is-zero';
    row.hidden = needsRedis && !hasRedis;
  });
}

/** The moment a reader points at is the same in all charts. */
function followPointer() {
  const area = element('charts');
  area.addEventListener('pointermove', (event) => {
    const plot = event.target.closest('.plot');
    const box = plot?.getBoundingClientRect();
    pointedAt = box ? SPAN_MS * (1 - Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))) : null;
    draw();
  });
  area.addEventListener('pointerleave', () => { pointedAt = null; draw(); });
}

/** The documentation may have been left out: the list of addresses says so. */
async function linkDocs() {
  const response = await fetch('/', { headers: { Accept: 'text/plain' } });
  element('docs-link').hidden = !/ \/docs /.test(await response.text());
}

followPointer();
document.addEventListener('visibilitychange', poll);
linkDocs().catch(() => {});
poll();
