//! Answers: in order, once for each request, whatever handlers do.

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::*;
use tiny_http::{FieldLines, Header, Options, RejectReason, Request, Response, Server, StatusCode};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn server() -> (Server, Client) {
    let server = Server::http("127.0.0.1:0").unwrap();
    let client = Client::connect(server.server_addr().to_ip().unwrap());
    (server, client)
}

fn text(request: Request, text: &str) {
    request.respond(Response::from_string(text)).unwrap();
}

#[test]
fn pipelined_requests_are_handed_out_ahead_and_answered_in_order() {
    let (server, mut client) = server();
    for number in 0..5 {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let mut requests: Vec<_> = (0..5).map(|_| server.recv().unwrap()).collect();
    assert!(server.try_recv().unwrap().is_none());
    for at in [3, 0, 2, 1, 0] {
        let request = requests.remove(at);
        let url = request.url().to_owned();
        text(request, &url);
    }
    let answers: Vec<_> = (0..5).map(|_| client.reply().text().to_owned()).collect();
    assert_eq!(answers, ["/0", "/1", "/2", "/3", "/4"]);
    assert_eq!(server.num_connections(), 1);
}

#[test]
fn only_so_many_pipelined_requests_are_handed_out() {
    let limits = tiny_http::Limits { pipelined_requests: 3, ..limits() };
    let server = Server::with_options(
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        Options { limits, ..Options::default() },
    )
    .unwrap();
    let mut client = Client::connect(server.server_addr().to_ip().unwrap());
    client.send(GET.repeat(7));
    let mut held: Vec<_> = (0..3).map(|_| server.recv().unwrap()).collect();
    assert!(server.recv_timeout(Duration::from_millis(50)).unwrap().is_none());
    for answered in 0..7 {
        let request = if held.is_empty() { server.recv().unwrap() } else { held.remove(0) };
        text(request, &answered.to_string());
    }
    for answered in 0..7 {
        assert_eq!(client.reply().text(), answered.to_string());
    }
}

#[test]
fn large_answers_out_of_order_wait_for_their_turn() {
    let (server, mut client) = server();
    client.send(GET.repeat(2));
    let (first, second) = (server.recv().unwrap(), server.recv().unwrap());
    let large = "x".repeat(2_000_000);
    let waiter = thread::spawn({
        let large = large.clone();
        move || text(second, &large)
    });
    thread::spawn(move || text(first, "first"));
    assert_eq!(client.reply().text(), "first");
    assert_eq!(client.reply().text(), large);
    waiter.join().unwrap();
}

#[test]
fn an_answer_that_comes_before_its_turn_waits_and_its_thread_does_not() {
    let (server, mut client) = server();
    client.send(GET.repeat(3));
    let mut requests: Vec<_> = (0..3).map(|_| server.recv().unwrap()).collect();
    let large = "x".repeat(2_000_000);
    while let Some(request) = requests.pop() {
        // The first comes last, from the same thread.
        request.respond_parts(StatusCode(200), &FieldLines::new(), large.as_bytes()).unwrap();
    }
    thread::scope(|scope| {
        // Somebody has to poll, for what the client does not take at once.
        scope.spawn(|| while server.recv().is_ok() {});
        (0..3).for_each(|_| assert_eq!(client.reply().text(), large));
        server.unblock();
    });
}

#[test]
fn answers_that_wait_for_their_turn_take_no_more_memory_together_than_is_allowed() {
    let limits = tiny_http::Limits { unsent_bytes: 3_000_000, ..limits() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::with_options(listener, Options { limits, ..Options::default() }).unwrap();
    let addr = server.server_addr().to_ip().unwrap();
    let mut clients = [Client::connect(addr), Client::connect(addr)];
    let large = "x".repeat(2_000_000);
    let [first, other] = clients.each_mut().map(|client| {
        client.send(GET.repeat(2));
        let (first, second) = (server.recv().unwrap(), server.recv().unwrap());
        second.respond_parts(StatusCode(200), &FieldLines::new(), large.as_bytes()).unwrap();
        first
    });
    assert_eq!(server.stats().overflowed, 1);
    text(first, "first");
    drop(other);
    assert_eq!(clients[0].reply().text(), "first");
    assert_eq!(clients[0].reply().text(), large);
    assert!(clients[1].is_gone(), "there was no memory for its answer");
}

#[test]
fn a_request_that_is_dropped_or_whose_handler_panics_is_answered_with_500() {
    let (server, mut client) = server();
    client.send(GET.repeat(3));
    drop(server.recv().unwrap());
    let request = server.recv().unwrap();
    let panicked = thread::spawn(move || {
        let _request = request;
        std::panic::panic_any("on purpose");
    });
    assert!(panicked.join().is_err());
    text(server.recv().unwrap(), "still here");
    assert_eq!((client.reply().status, client.reply().status), (500, 500));
    assert_eq!(client.reply().text(), "still here");
    assert_eq!(server.stats().rejected(RejectReason::Unanswered), 2);
}

#[test]
fn a_request_that_was_received_is_answered_though_the_server_is_gone() {
    let (server, mut client) = server();
    client.send(GET);
    let request = server.recv().unwrap();
    drop(server);
    let large = "x".repeat(5_000_000);
    let responder = thread::spawn({
        let large = large.clone();
        move || text(request, &large)
    });
    assert_eq!(client.reply().text(), large);
    responder.join().unwrap();
    assert!(client.is_gone());
}

#[test]
fn a_request_that_nobody_took_is_answered_when_the_server_goes() {
    let (server, mut client) = server();
    client.send(GET.repeat(2));
    text(server.recv().unwrap(), "taken");
    drop(server);
    assert_eq!((client.reply().status, client.reply().status), (200, 500));
    assert!(client.is_gone());
}

#[test]
fn a_writer_owns_the_answer_until_it_is_dropped() {
    let (server, mut client) = server();
    client.send(GET.repeat(2));
    let (first, second) = (server.recv().unwrap(), server.recv().unwrap());
    text(second, "second");
    let mut writer = first.into_writer();
    writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
    writer.flush().unwrap();
    assert_eq!(client.head().unwrap().field("Content-Length"), Some("10"));
    assert_eq!(client.take(5), b"first");
    writer.write_all(b"-part").unwrap();
    drop(writer);
    assert_eq!(client.take(5), b"-part");
    assert_eq!(client.reply().text(), "second");
}

#[test]
fn an_upgraded_connection_belongs_to_its_stream() {
    let (server, mut client) = server();
    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nearly");
    let request = server.recv().unwrap();
    let mut stream = request.upgrade("chat", Response::empty(101));
    let head = client.head().unwrap();
    assert_eq!((head.status, head.field("Upgrade"), head.field("Connection")), (101, Some("chat"), Some("upgrade")));
    let mut five = [0; 5];
    stream.read_exact(&mut five).unwrap();
    assert_eq!(&five, b"early");
    client.send("late!");
    stream.read_exact(&mut five).unwrap();
    assert_eq!(&five, b"late!");
    stream.write_all(b"reply").unwrap();
    stream.flush().unwrap();
    assert_eq!(client.take(5), b"reply");
    drop(stream);
    assert!(client.is_closed());
    eventually("the connection is gone", || server.num_connections() == 0);
}

#[test]
fn an_upgrade_that_is_not_taken_leaves_the_connection_as_it_was() {
    let server = Running::echo(limits());
    let mut client = server.client();
    let upgrade = "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    client.send(upgrade).send(GET);
    assert_eq!(client.reply().text(), echoed("GET", "/1", ""));
    assert_eq!(client.reply().text(), echoed("GET", "/", ""));
}

#[test]
fn continue_is_sent_when_the_body_is_read_and_not_before() {
    let (server, mut client) = server();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut request = server.recv().unwrap();
    assert_eq!(request.body_ready(), None);
    let reader = thread::spawn(move || {
        let mut body = String::new();
        request.as_reader().read_to_string(&mut body).unwrap();
        text(request, &body);
    });
    assert_eq!(client.head().unwrap().head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.reply().text(), "hello");
    reader.join().unwrap();
    client.send(GET);
    text(server.recv().unwrap(), "next");
    assert_eq!(client.reply().text(), "next");
}

#[test]
fn continue_is_not_sent_to_a_client_that_did_not_wait() {
    let server = Running::echo(limits());
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.reply().text(), echoed("POST", "/", "hello"));
}

#[test]
fn a_final_status_instead_of_continue_ends_the_connection() {
    let (server, mut client) = server();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    server.recv().unwrap().respond(Response::empty(403)).unwrap();
    let reply = client.reply();
    assert_eq!((reply.status, reply.closes()), (403, true));
}

#[test]
fn a_request_can_be_given_back_until_its_body_is_there() {
    let server = Running::new(Options { limits: limits(), ..Options::default() }, 1, |request| {
        if let Some(request) = request.collect_body(usize::MAX) {
            let length = request.body_ready().map_or(0, <[u8]>::len);
            text(request, &length.to_string());
        }
    });
    let mut slow = server.client();
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").send(vec![b'x'; 70_000]);
    let mut waiting = server.client();
    waiting.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(waiting.head().unwrap().status, 100);
    // The one worker is free, though two clients are slow.
    assert_eq!(server.client().get("/").text(), "0");
    slow.send(vec![b'x'; 30_000]).send(GET);
    assert_eq!([slow.reply(), slow.reply()].map(|reply| reply.text().to_owned()), ["100000", "0"]);
    waiting.send("5\r\nhello\r\n0\r\n\r\n").send(GET);
    assert_eq!([waiting.reply(), waiting.reply()].map(|reply| reply.text().to_owned()), ["5", "0"]);
}

#[test]
fn what_is_attached_to_a_request_that_is_given_back_comes_back_with_it() {
    let server = Running::new(Options { limits: limits(), ..Options::default() }, 1, |mut request| {
        let seen = request.take_attachment().and_then(|value| value.downcast::<u32>().ok()).map_or(0, |value| *value);
        request.attach(Box::new(seen + 1));
        if let Some(request) = request.collect_body(usize::MAX) {
            text(request, &seen.to_string());
        }
    });
    let mut client = server.client();
    client.send(GET);
    assert_eq!(client.reply().text(), "0", "there was nothing to wait for");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send("x");
    assert_eq!(client.reply().text(), "1");
}

#[test]
fn a_request_given_back_comes_again_without_a_body_that_grows_too_long() {
    let server = Running::new(Options { limits: limits(), ..Options::default() }, 1, |request| {
        if let Some(request) = request.collect_body(10) {
            let told = request.body_failure().map_or("whole", |failure| failure.reason.as_str());
            text(request, told);
        }
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, told) in [
        ("9\r\n123456789\r\n0\r\n\r\n", "whole"),
        ("a\r\n1234567890\r\n0\r\n\r\n", "whole"),
        ("b\r\n12345678901\r\n0\r\n\r\n", "body_too_large"),
    ] {
        let mut client = server.client();
        client.send(head);
        assert_eq!(client.head().unwrap().status, 100);
        client.send(body);
        let reply = client.reply();
        assert_eq!((reply.text(), reply.closes()), (told, told != "whole"), "{body:?}");
    }
}

#[test]
fn bodies_on_their_way_take_no_more_memory_together_than_is_allowed() {
    let limits = tiny_http::Limits { collected_bytes: 1_000, ..limits() };
    let server = Running::new(Options { limits, ..Options::default() }, 1, |request| text(request, "whole"));
    let mut first = server.client();
    first.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n").send(vec![b'x'; 899]);
    eventually("there is no room for a second body", || {
        let mut second = server.client();
        second.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n").send(vec![b'x'; 899]);
        second.send("x");
        second.reply().status == 503
    });
    first.send("x");
    assert_eq!(first.reply().text(), "whole");
    let mut third = server.client();
    third.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n").send(vec![b'x'; 899]).send("x");
    assert_eq!(third.reply().text(), "whole", "the room is free again");
}

#[test]
fn a_request_given_back_comes_again_without_a_body_that_is_bad() {
    let limits = tiny_http::Limits { body_timeout: Duration::from_millis(300), ..limits() };
    let server = Running::new(Options { limits, ..Options::default() }, 1, |request| {
        if let Some(mut request) = request.collect_body(usize::MAX) {
            let read = request.as_reader().read(&mut [0; 10]);
            let told = match request.body_failure() {
                Some(failure) => format!("{} {:?}", failure.reason.as_str(), read.map_err(|error| error.kind())),
                None => "whole".to_owned(),
            };
            text(request, &told);
        }
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, ends, told) in [
        ("5\r\nhelloworld", true, "chunk Err(InvalidData)"),
        ("5\r\nhel", true, "incomplete Err(UnexpectedEof)"),
        ("", true, "incomplete Err(UnexpectedEof)"),
        ("5\r\nhel", false, "body_timeout Err(TimedOut)"),
    ] {
        let mut client = server.client();
        client.send(GET).send(head);
        assert_eq!(client.reply().text(), "whole");
        assert_eq!(client.head().unwrap().status, 100);
        client.send(body);
        if ends {
            client.finish();
        }
        let reply = client.reply();
        assert_eq!((reply.text(), reply.closes()), (told, true), "{body:?}");
        assert!(client.is_closed());
    }
    let mut gone = server.client();
    gone.send(head);
    assert_eq!(gone.head().unwrap().status, 100);
    drop(gone);
    eventually("all connections are gone", || server.server.num_connections() == 0);
}

#[test]
fn a_long_body_is_streamed_to_its_reader() {
    let server = Running::echo(limits());
    let body = "0123456789".repeat(50_000);
    let mut client = server.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.reply().text(), echoed("POST", "/", &body));
    client.send("POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in body.as_bytes().chunks(7_001) {
        client.send(format!("{:x}\r\n", chunk.len())).send(chunk).send("\r\n");
    }
    client.send(format!("0\r\n\r\n{GET}"));
    assert_eq!(client.reply().text(), echoed("POST", "/2", &body));
    assert_eq!(client.reply().text(), echoed("GET", "/", ""));
}

#[test]
fn an_answer_may_be_sent_while_the_body_is_on_its_way() {
    let (server, mut client) = server();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").send(vec![b'x'; 1_000]);
    text(server.recv().unwrap(), "early");
    let reply = client.reply();
    assert_eq!((reply.text(), reply.closes()), ("early", false));
    client.send(vec![b'x'; 199_000]).send(GET);
    text(server.recv().unwrap(), "the rest was dropped");
    assert_eq!(client.reply().text(), "the rest was dropped");
}

#[test]
fn the_rest_of_a_body_that_is_too_long_to_drop_ends_the_connection() {
    let server = Running::new(Options { limits: limits(), ..Options::default() }, 1, |request| text(request, "early"));
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").send(vec![b'x'; 100_000]);
    let reply = client.reply();
    assert_eq!((reply.text(), reply.closes()), ("early", true));
}

#[test]
fn a_body_that_breaks_off_is_an_error_to_its_reader() {
    let server = Running::echo(limits());
    for (head, body, kind) in [
        ("Content-Length: 100000", "short", "UnexpectedEof"),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n", "UnexpectedEof"),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked", "5\r\nhelloworld", "InvalidData"),
    ] {
        let mut client = server.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n{body}")).finish();
        let reply = client.reply();
        assert_eq!((reply.text(), reply.closes()), (&*format!("body: {kind}"), true), "{head}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_short_body_is_there_without_reading() {
    let (server, mut client) = server();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    let mut request = server.recv().unwrap();
    assert_eq!((request.body_ready(), request.body_length()), (Some(&b"hello"[..]), None));
    let mut body = String::new();
    request.as_reader().read_to_string(&mut body).unwrap();
    assert_eq!((body.as_str(), request.body_ready()), ("hello", None));
    text(request, "");
    assert_eq!(client.reply().text(), "");
}

#[test]
fn head_requests_and_bodiless_statuses_are_answered_without_a_body() {
    let server = Running::new(Options::default(), 1, |request| match request.url() {
        "/204" => request.respond(Response::from_string("no").with_status_code(204)).unwrap(),
        "/304" => request.respond_parts(StatusCode(304), &FieldLines::new(), b"no").unwrap(),
        "/304/parts" => request.respond_parts(StatusCode(304), &FieldLines::new(), b"").unwrap(),
        "/304/empty" => request.respond(Response::empty(304)).unwrap(),
        "/500" => drop(request),
        _ => text(request, "hello"),
    });
    let mut client = server.client();
    for (path, status, length) in [
        ("/", 200, Some("5")),
        ("/204", 204, None),
        ("/304", 304, Some("2")),
        ("/304/parts", 304, None),
        ("/304/empty", 304, None),
        ("/500", 500, Some("29")),
    ] {
        let head = client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")).head().unwrap();
        assert_eq!((head.status, head.field("Content-Length")), (status, length), "{path}");
        assert_eq!(head.field("Transfer-Encoding"), None);
    }
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn a_handler_may_end_the_connection() {
    let server = Running::new(Options::default(), 1, |mut request| {
        if request.url() == "/last" {
            request.end_connection();
        }
        request.respond_parts(StatusCode(200), &FieldLines::new(), b"").unwrap();
    });
    let mut client = server.client();
    assert!(!client.get("/").closes());
    assert!(client.get("/last").closes());
    assert!(client.is_closed());
}

#[test]
fn parts_make_a_whole_response() {
    let mut fields = FieldLines::new();
    fields.push("Content-Type", b"text/css").unwrap();
    let server = Running::new(Options { server_name: None, ..Options::default() }, 1, move |request| {
        request.respond_parts(StatusCode(201), &fields, b"body").unwrap();
    });
    let reply = server.client().get("/");
    assert_eq!((reply.status, reply.text(), reply.field("Content-Type")), (201, "body", Some("text/css")));
    assert_eq!((reply.field("Server"), reply.field("Date").is_some()), (None, true));
}

#[test]
fn a_response_of_unknown_length_goes_in_chunks_or_until_the_end() {
    let server = Running::new(Options::default(), 1, |request| {
        request.respond(Response::empty(200).with_data(&b"hello"[..], None)).unwrap();
    });
    let mut client = server.client();
    let reply = client.get("/");
    assert_eq!((reply.field("Transfer-Encoding"), reply.text()), (Some("chunked"), "hello"));
    let reply = client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply();
    assert_eq!((reply.field("Connection"), reply.text()), (Some("close"), "hello"));
}

#[test]
fn a_response_that_breaks_off_is_cut_where_it_broke() {
    let (server, mut client) = server();
    client.send(GET);
    let short = Response::empty(200).with_data(&b"abc"[..], Some(100_000)).with_chunked_threshold(usize::MAX);
    assert!(server.recv().unwrap().respond(short).is_err());
    assert_eq!(client.head().unwrap().field("Content-Length"), Some("100000"));
    assert!(client.rest().len() < 100_000);
    let mut client = Client::connect(server.server_addr().to_ip().unwrap());
    client.send(GET);
    let short = Response::empty(200).with_data(&b"abc"[..], Some(5));
    assert!(server.recv().unwrap().respond(short).is_err());
    assert_eq!(client.reply().status, 500, "nothing was sent yet");
}

#[test]
fn the_engines_own_answers_can_be_made_by_the_server() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let options = Options {
        limits: limits(),
        on_reject: Some(Arc::new(move |rejection| {
            if counter.fetch_add(1, Ordering::SeqCst) == 1 {
                std::panic::panic_any("on purpose");
            }
            Response::from_string(format!("{}: {}", rejection.reason.as_str(), rejection.detail))
                .with_status_code(rejection.status)
                .with_header("X-Made: yes".parse::<Header>().unwrap())
                .boxed()
        })),
        ..Options::default()
    };
    let server = Running::new(options, 1, drop);
    let reply = server.client().send("GET /\r\n\r\n").reply();
    assert_eq!((reply.status, reply.field("X-Made")), (400, Some("yes")));
    assert_eq!(reply.text(), "request_line: The request line has no version.");
    let plain = server.client().send("GET /\r\n\r\n").reply();
    assert_eq!((plain.status, plain.field("X-Made")), (400, None));
    assert_eq!(server.client().get("/").text(), "unanswered: The request was not answered.");
    assert_eq!(server.server.stats().rejected_total(), 3);
}

#[test]
fn a_slow_reader_gets_everything_and_holds_nobody_up() {
    let large = Arc::new("0123456789".repeat(600_000));
    let body = Arc::clone(&large);
    let server = Running::new(Options { limits: limits(), ..Options::default() }, 2, move |request| {
        if request.url() == "/large" { text(request, &body) } else { text(request, "small") }
    });
    let mut slow = server.client();
    slow.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut quick = server.client();
    for _ in 0..50 {
        assert_eq!(quick.get("/").text(), "small");
    }
    assert_eq!(slow.reply().text(), *large);
}

#[test]
fn what_fits_the_bound_is_kept_for_a_slow_reader_and_its_worker_goes_on() {
    let limits = tiny_http::Limits { pending_output_bytes: 50_000_000, ..limits() };
    let large = "0123456789".repeat(2_000_000);
    let body = large.clone();
    let server = Running::new(Options { limits, ..Options::default() }, 1, move |request| {
        if request.url() == "/large" {
            request.respond_parts(StatusCode(200), &FieldLines::new(), body.as_bytes()).unwrap();
        } else {
            text(request, "small");
        }
    });
    let mut slow = server.client();
    slow.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").send(GET);
    assert_eq!(server.client().get("/").text(), "small");
    assert_eq!(slow.reply().text(), large);
    assert_eq!(slow.reply().text(), "small");
}

#[test]
fn answers_that_nobody_reads_take_no_more_memory_together_than_is_allowed() {
    let limits = tiny_http::Limits { unsent_bytes: 41_000_000, pending_output_bytes: usize::MAX, ..limits() };
    let large = "0123456789".repeat(4_000_000);
    let body = large.clone();
    let server = Running::new(Options { limits, ..Options::default() }, 1, move |request| text(request, &body));
    let mut first = server.client();
    first.send(GET);
    // Its answer is kept once the one worker takes the next request.
    let mut others: Vec<_> = (0..3).map(|_| server.client()).collect();
    for other in &mut others {
        other.send(GET);
    }
    eventually("those that would exceed it are closed", || server.server.stats().overflowed == 3);
    assert_eq!(first.reply().text(), large);
    let mut later = server.client();
    later.send(GET);
    assert_eq!(later.reply().text(), large, "the memory is free again");
}

#[test]
fn the_answer_to_a_client_that_is_gone_is_no_error() {
    let (server, mut client) = server();
    client.send(GET.repeat(2));
    let (first, second) = (server.recv().unwrap(), server.recv().unwrap());
    drop(client);
    text(second, "nobody");
    thread::sleep(Duration::from_millis(20));
    text(first, &"nobody".repeat(1_000_000));
    let _ = server.recv_timeout(Duration::from_millis(100));
    eventually("the connection is gone", || server.num_connections() == 0);
}

#[test]
fn a_request_that_is_forgotten_harms_nobody_else() {
    let (server, mut client) = server();
    client.send(GET);
    std::mem::forget(server.recv().unwrap());
    let mut other = Client::connect(server.server_addr().to_ip().unwrap());
    other.send(GET);
    text(server.recv().unwrap(), "other");
    assert_eq!(other.reply().text(), "other");
}

#[test]
fn unblock_wakes_one_waiter_each_time() {
    let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
    let (send, receive) = channel();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (server, send) = (Arc::clone(&server), send.clone());
            thread::spawn(move || {
                assert_eq!(server.incoming_requests().count(), 0);
                send.send(()).unwrap();
            })
        })
        .collect();
    for _ in 0..3 {
        assert!(receive.recv_timeout(Duration::from_millis(20)).is_err());
        server.unblock();
        receive.recv_timeout(PATIENCE).unwrap();
    }
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    server.unblock();
    assert!(server.try_recv().unwrap().is_none());
    assert!(server.recv_timeout(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_batch_takes_what_is_there_and_a_busy_batcher_starves_nobody() {
    let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
    let addr = server.server_addr().to_ip().unwrap();
    let mut client = Client::connect(addr);
    client.send(GET.repeat(10));
    let mut batch = Vec::new();
    while batch.len() < 10 {
        assert!(server.recv_batch(&mut batch, 6).unwrap());
    }
    let helper = thread::spawn({
        let server = Arc::clone(&server);
        move || {
            let mut batch = Vec::new();
            server.recv_batch(&mut batch, 6).unwrap();
            batch.drain(..).for_each(|request| text(request, "helper"));
        }
    });
    // This thread has not come back, and has not said that it would not.
    assert_eq!(Client::connect(addr).send(GET).reply().text(), "helper");
    helper.join().unwrap();
    batch.into_iter().for_each(|request| text(request, "batch"));
    (0..10).for_each(|_| assert_eq!(client.reply().text(), "batch"));
}
