//! Fuzzing by mutation, for a stable toolchain: see `fuzz/README.md`.
//!
//! usage: fuzz parser|engine SECONDS [SEED]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tiny_http::{Limits, Options, Request, Response, Server, fuzzing};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Clients that fuzz the engine at once.
const CLIENTS: u64 = 4;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// What requests are broken with.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"5",
    b"ffffffffffffffff",
    b"+",
    b"-",
    b"\xff",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"GET / ",
    b"0\r\n\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n\r\n",
    b"http://b",
    b"*",
];

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    if random.below(3) == 0 {
        input.extend_from_slice(&corpus[random.below(corpus.len())]);
    }
    for _ in 0..random.below(6) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(12)).min(input.len());
        match random.below(5) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            2 => drop(input.splice(at..end, TOKENS[random.below(TOKENS.len())].iter().copied())),
            3 => {
                let piece = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                drop(input.splice(to..to, piece));
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    input
}

fn fuzz_parser(corpus: &[Vec<u8>], time: Duration, seed: u64) -> u64 {
    let (start, mut random, mut executions) = (Instant::now(), Random(seed), 0);
    while executions % 1024 != 0 || start.elapsed() < time {
        let input = mutate(&mut random, corpus);
        let shown = input.clone();
        if let Err(panic) = std::panic::catch_unwind(|| fuzzing::check(&input)) {
            eprintln!("finding: {}", shown.escape_ascii());
            std::panic::resume_unwind(panic);
        }
        executions += 1;
    }
    executions
}

/// Answers in one of the ways there are, as the input has it.
fn handle(mut request: Request, random: &mut Random) {
    let mut body = Vec::new();
    // What a reader is told is not what is looked for here.
    match random.below(7) {
        0 => drop(request),
        1 => drop(request.respond(Response::from_string("early"))),
        2 => drop(request.into_writer().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
        3 => {
            if let Some(request) = request.collect_body(usize::MAX) {
                drop(request.respond(Response::empty(200)));
            }
        }
        4 => drop(request.respond(Response::empty(200).with_data(&b"chunks"[..], None))),
        _ => {
            let _ = request.as_reader().read_to_end(&mut body);
            drop(request.respond(Response::from_data(body)));
        }
    }
}

fn send(addr: SocketAddr, input: &[u8], random: &mut Random) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(random.below(rest.len()) + 1);
        if stream.write_all(piece).is_err() {
            break;
        }
        rest = next;
    }
    if random.below(4) == 0 {
        return Ok(());
    }
    let _ = stream.shutdown(Shutdown::Write);
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            Err(format!("no end to {}", input.escape_ascii()).into())
        }
        _ => Ok(()),
    }
}

fn probe(addr: SocketAddr) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    if text.starts_with(b"HTTP/1.1 ") { Ok(()) } else { Err("the server does not answer".into()) }
}

fn fuzz_client(
    addr: SocketAddr,
    corpus: &[Vec<u8>],
    end: Instant,
    seed: u64,
    executions: &AtomicU64,
) -> Result<(), Failure> {
    let mut random = Random(seed);
    while Instant::now() < end {
        let input = mutate(&mut random, corpus);
        send(addr, &input, &mut random)?;
        if executions.fetch_add(1, Ordering::Relaxed).is_multiple_of(500) {
            probe(addr)?;
        }
    }
    Ok(())
}

fn fuzz_engine(corpus: &[Vec<u8>], time: Duration, seed: u64) -> Result<u64, Failure> {
    let limits = Limits {
        head_bytes: 400,
        buffered_body_bytes: 3,
        pipelined_requests: 2,
        unread_body_bytes: 50,
        linger_timeout: Duration::from_millis(100),
        body_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let server = Server::with_options(listener, Options { limits, ..Options::default() })?;
    let executions = AtomicU64::new(0);
    let end = Instant::now() + time;
    thread::scope(|scope| -> Result<(), Failure> {
        for worker in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let mut random = Random(seed ^ worker << 40 | 1);
                server.incoming_requests().for_each(|request| handle(request, &mut random));
            });
        }
        let (corpus, executions) = (&corpus, &executions);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || fuzz_client(addr, corpus, end, seed.wrapping_add(client) | 1, executions))
            })
            .collect();
        let results: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect();
        let emptied = Instant::now();
        while server.num_connections() > 0 && emptied.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
        let left = server.num_connections();
        server.begin_drain(Duration::from_secs(1));
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        if left == 0 { Ok(()) } else { Err(format!("{left} connections were left open").into()) }
    })?;
    println!("{:?}", server.stats());
    Ok(executions.into_inner())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(what), Some(seconds)) = (arguments.first(), arguments.get(1)) else {
        return Err("usage: fuzz parser|engine SECONDS [SEED]".into());
    };
    let time = Duration::from_secs(seconds.parse()?);
    let seed = match arguments.get(2) {
        Some(seed) => seed.parse()?,
        None => u64::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_nanos()) | 1,
    };
    println!("seed {seed}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let corpus = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let executions = match what.as_str() {
        "parser" => fuzz_parser(&corpus, time, seed),
        "engine" => fuzz_engine(&corpus, time, seed)?,
        other => return Err(format!("nothing to fuzz is called {other}").into()),
    };
    println!("{executions} executions, no finding");
    Ok(())
}
