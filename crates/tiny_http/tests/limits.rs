//! Each limit at its value, below and above; each time-out; and what is counted.

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::*;
use tiny_http::{Limits, Options, RejectReason, Response};

fn short(limit: Limits) -> Limits {
    Limits { linger_timeout: Duration::from_millis(200), ..limit }
}

const MOMENT: Duration = Duration::from_millis(300);

#[test]
fn a_request_line_may_be_as_long_as_its_limit() {
    let server = Running::echo(short(Limits::default()));
    let line =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - "GET / HTTP/1.1".len()));
    for (bytes, status) in [(8_191, 200), (8_192, 200), (8_193, 414), (100_000, 414)] {
        let mut client = server.client();
        assert_eq!(client.send_while_open(line(bytes)).reply().status, status, "{bytes} bytes");
    }
}

#[test]
fn a_head_may_be_as_long_as_its_limit() {
    let server = Running::echo(short(Limits::default()));
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    for (bytes, status) in [(32_767, 200), (32_768, 200), (32_769, 431), (1_000_000, 431)] {
        let mut client = server.client();
        assert_eq!(client.send_while_open(head(bytes)).reply().status, status, "{bytes} bytes");
    }
}

#[test]
fn a_head_may_have_as_many_fields_as_its_limit() {
    let server = Running::echo(short(Limits::default()));
    for (fields, status) in [(99, 200), (100, 200), (101, 431)] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(fields - 1));
        assert_eq!(server.client().send(head).reply().status, status, "{fields} fields");
    }
}

#[test]
fn a_body_may_be_as_long_as_its_limit() {
    for buffered in [0, 50, 200] {
        let server =
            Running::echo(short(Limits { body_bytes: 100, buffered_body_bytes: buffered, ..Limits::default() }));
        for (bytes, status) in [(99, 200), (100, 200), (101, 413)] {
            let body = "x".repeat(bytes);
            let mut client = server.client();
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{body}"));
            assert_eq!(client.reply().status, status, "{bytes} bytes, {buffered} buffered");
            let mut client = server.client();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n32\r\n{}\r\n",
                &body[..50]
            ));
            client.send_while_open(format!("{:x}\r\n{}\r\n0\r\n\r\n", bytes - 50, &body[50..]));
            let reply = client.reply();
            // A body that is streamed is the handler's to refuse.
            let refused = reply.status == 413 || reply.text() == "body: InvalidData";
            assert_eq!(refused, status == 413, "{bytes} bytes in chunks, {buffered} buffered: {reply:?}");
        }
    }
}

#[test]
fn what_is_collected_ends_at_its_limit_and_the_rest_is_streamed() {
    let server = Running::new(Options { limits: short(Limits::default()), ..Options::default() }, 1, |request| {
        let is_ready = request.body_ready().is_some();
        request.respond(Response::from_string(is_ready.to_string())).unwrap();
    });
    for (bytes, ready) in [(65_535, "true"), (65_536, "true"), (65_537, "false")] {
        let mut client = server.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes)));
        assert_eq!(client.reply().text(), ready, "{bytes} bytes");
    }
}

#[test]
fn as_much_of_an_unread_body_is_dropped_as_its_limit_says() {
    let limits = short(Limits { unread_body_bytes: 1_000, buffered_body_bytes: 0, ..Limits::default() });
    let server = Running::new(Options { limits, ..Options::default() }, 1, |request| {
        request.respond(Response::empty(200)).unwrap();
    });
    for (bytes, kept) in [(999, true), (1_000, true), (1_001, false)] {
        let mut client = server.client();
        let reply = client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n")).reply();
        assert_eq!(reply.closes(), !kept, "{bytes} bytes");
        if kept {
            client.send("x".repeat(bytes));
            assert_eq!(client.get("/").status, 200);
        }
    }
}

#[test]
fn extensions_and_trailers_may_be_as_long_as_their_limits() {
    let server = Running::echo(short(Limits::default()));
    let body = |extension: usize, trailer: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\nt:{}\r\n\r\n",
            "e".repeat(extension - 1),
            "t".repeat(trailer - 4)
        )
    };
    for (extension, trailer, status) in
        [(16_384, 8_192, 200), (16_383, 8_191, 200), (16_385, 100, 400), (100, 8_193, 431)]
    {
        assert_eq!(
            server.client().send_while_open(body(extension, trailer)).reply().status,
            status,
            "{extension} {trailer}"
        );
    }
}

#[test]
fn a_connection_has_as_many_requests_as_its_limit() {
    let server = Running::echo(short(Limits { requests_per_connection: 3, ..Limits::default() }));
    let mut client = server.client();
    let closes: Vec<_> = (0..3).map(|_| client.get("/").closes()).collect();
    assert_eq!(closes, [false, false, true]);
    assert!(client.is_closed());
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
    assert!(!client.reply().closes() && !client.reply().closes() && client.reply().closes());
    assert!(client.is_closed());
}

#[test]
fn a_head_that_takes_too_long_is_answered_with_408() {
    let server = Running::echo(short(Limits { head_timeout: MOMENT, ..Limits::default() }));
    let mut drip = server.client();
    let start = Instant::now();
    // Bytes that keep coming do not extend it.
    while drip.stream.write_all(b"G").is_ok() && start.elapsed() < MOMENT * 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(drip.reply().status, 408);
    assert!(start.elapsed() >= MOMENT);
    let mut between = server.client();
    between.get("/");
    assert_eq!(between.send("GET / HTTP/1.1\r\nHost").reply().status, 408);
    assert!(between.is_closed());
    assert_eq!(server.server.stats().rejected(RejectReason::HeadTimeout), 2);
}

#[test]
fn a_body_that_takes_too_long_is_answered_with_408_or_fails_its_reader() {
    let server = Running::echo(short(Limits { body_timeout: MOMENT, ..Limits::default() }));
    for head in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let mut client = server.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n4"));
        assert_eq!(client.reply().status, 408, "{head}");
        assert!(client.is_closed());
    }
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nstart");
    let reply = client.reply();
    assert_eq!((reply.text(), reply.closes()), ("body: TimedOut", true));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Running::echo(short(Limits { idle_timeout: MOMENT, ..Limits::default() }));
    let mut silent = server.client();
    let mut used = server.client();
    used.get("/");
    let mut blank = server.client();
    blank.send("\r\n\r\n");
    for client in [&mut silent, &mut used, &mut blank] {
        assert!(client.is_closed());
    }
    eventually("the connections are counted out", || server.server.num_connections() == 0);
    assert_eq!(server.server.stats().timed_out, 3);
}

#[test]
fn a_connection_is_not_idle_while_it_is_used() {
    let server = Running::echo(short(Limits { idle_timeout: MOMENT * 2, ..Limits::default() }));
    let mut client = server.client();
    let start = Instant::now();
    while start.elapsed() < MOMENT * 6 {
        assert_eq!(client.get("/").status, 200);
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let limits = short(Limits { write_timeout: MOMENT, ..Limits::default() });
    let server = Running::new(Options { limits, ..Options::default() }, 1, |request| {
        // More than the kernel keeps, and than the engine does.
        let _ = request.respond(Response::from_data(vec![b'x'; 20_000_000]));
    });
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the connection is cut", || server.server.stats().accepted == 1 && server.server.num_connections() == 0);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 20_000_000);
}

#[test]
fn a_client_that_does_not_read_what_is_kept_for_it_is_cut_off() {
    let limits = short(Limits { write_timeout: MOMENT, pending_output_bytes: 100_000_000, ..Limits::default() });
    let server = Running::new(Options { limits, ..Options::default() }, 1, |request| {
        let fields = tiny_http::FieldLines::new();
        request.respond_parts(tiny_http::StatusCode(200), &fields, &vec![b'x'; 20_000_000]).unwrap();
    });
    server.client().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the connections are cut", || {
        server.server.stats().accepted == 2 && server.server.num_connections() == 0
    });
}

#[test]
fn a_client_that_does_not_close_is_closed() {
    let server = Running::echo(short(Limits::default()));
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    assert!(client.is_closed());
    eventually("the connection is counted out", || server.server.num_connections() == 0);
}

#[test]
fn connections_beyond_the_cap_wait_until_one_ends() {
    let server = Running::echo(short(Limits { connections: 2, ..Limits::default() }));
    let mut first = server.client();
    let mut second = server.client();
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    let mut third = server.client();
    third.send("GET /third HTTP/1.1\r\nHost: a\r\n\r\n");
    third.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(third.stream.read(&mut [0; 1]).is_err(), "it waits");
    third.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(server.server.num_connections(), 2);
    assert_eq!(first.get("/").status, 200);
    drop(first);
    assert_eq!(third.reply().text(), echoed("GET", "/third", ""));
}

#[test]
fn idle_connections_make_room_for_those_that_wait() {
    let limits = Limits { connections: 2, idle_timeout: Duration::from_hours(1), ..Limits::default() };
    let server = Running::echo(limits);
    let mut idle = [server.client(), server.client()];
    assert_eq!(idle[0].get("/").status, 200, "one has been used, the other never was");
    eventually("both are there", || server.server.num_connections() == 2);
    for _ in 0..3 {
        assert_eq!(server.client().get("/").status, 200);
    }
    assert!(idle.iter_mut().all(Client::is_closed));
}

#[test]
fn requests_beyond_the_queue_are_answered_with_503() {
    let limits = short(Limits { ready_requests: 2, pipelined_requests: 10, ..Limits::default() });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = tiny_http::Server::with_options(listener, Options { limits, ..Options::default() }).unwrap();
    let mut client = Client::connect(server.server_addr().to_ip().unwrap());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4));
    // All of it is there before anybody looks.
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..2 {
        server.recv().unwrap().respond(Response::empty(200)).unwrap();
    }
    assert_eq!((client.reply().status, client.reply().status), (200, 200));
    let refused = client.reply();
    assert_eq!((refused.status, refused.field("Retry-After"), refused.closes()), (503, Some("1"), true));
    assert!(client.is_closed());
    let stats = server.stats();
    assert_eq!((stats.rejected(RejectReason::QueueFull), stats.ready_requests), (1, 0));
}
