//! Descriptors, threads and memory: what clients can use up, and what is given back.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use tiny_http::{Limits, Options, Response, Server};

/// A server in a process of its own, which has few descriptors.
struct Poor {
    child: Child,
    addr: SocketAddr,
}

const ROLE: &str = "TINY_HTTP_TEST_RESERVED";

impl Poor {
    fn start(descriptors: usize, reserved: usize) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" --exact serve_poorly --ignored --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .env(ROLE, reserved.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let addr = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("addr ").map(str::to_owned)).unwrap();
        Self { child, addr: addr.parse().unwrap() }
    }

    fn status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        // The child ends when its input does.
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "{status}");
    }
}

#[test]
#[ignore = "this is the process that the other tests start"]
fn serve_poorly() {
    let reserved = std::env::var(ROLE).unwrap().parse().unwrap();
    let limits = Limits { reserved_descriptors: reserved, ..limits() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::with_options(listener, Options { limits, ..Options::default() }).unwrap();
    println!("\naddr {}", server.server_addr());
    std::io::stdout().flush().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for request in server.incoming_requests() {
                    request.respond(Response::from_string("served")).unwrap();
                }
            });
        }
        for _ in std::io::stdin().lines() {}
        server.begin_drain(Duration::from_millis(500));
    });
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Opens many more connections than there are descriptors, and sees each of them served.
fn crowd(server: &Poor) {
    let before = server.descriptors();
    // No more than the kernel queues for a listener, or connecting itself would wait.
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::connect(server.addr);
            client.send(GET);
            client
        })
        .collect();
    // Each that is served makes room for another.
    for mut client in clients {
        assert_eq!(client.reply().text(), "served");
    }
    eventually("the descriptors are back", || server.descriptors() <= before);
}

#[test]
fn more_clients_than_descriptors_are_served_one_after_the_other() {
    let server = Poor::start(64, 32);
    crowd(&server);
    crowd(&server);
}

#[test]
fn running_out_of_descriptors_passes() {
    // With none reserved, accepting fails for want of descriptors instead of being put off.
    let server = Poor::start(40, 0);
    crowd(&server);
    crowd(&server);
}

#[test]
fn idle_connections_cost_no_thread_and_little_memory() {
    let server = Poor::start(2_500, 32);
    assert_eq!(Client::connect(server.addr).send(GET).reply().text(), "served");
    let (threads, rss_kib) = (server.status("Threads:"), server.status("VmRSS:"));
    let mut clients: Vec<_> = (0..2_000).map(|_| Client::connect(server.addr)).collect();
    for client in &mut clients {
        assert_eq!(client.send(GET).reply().text(), "served");
    }
    assert_eq!(server.status("Threads:"), threads);
    #[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
    let each_kib = server.status("VmRSS:").saturating_sub(rss_kib) as f64 / clients.len() as f64;
    assert!(each_kib < 3.0, "{each_kib} KiB a connection");
}

#[test]
fn connections_that_are_dropped_leave_nothing_behind() {
    let server = Poor::start(200, 32);
    let before = server.descriptors();
    for round in 0..5_000 {
        let mut client = Client::connect(server.addr);
        match round % 4 {
            0 => {}
            1 => _ = client.send("GET / HTTP/1.1\r\nHo").finish(),
            2 => _ = client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"),
            _ => _ = client.send(GET),
        }
    }
    assert_eq!(Client::connect(server.addr).send(GET).reply().text(), "served");
    eventually("the descriptors are back", || server.descriptors() <= before);
}
