//! rouille 3.6, as published, on this engine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rouille::{Request, Response, Server, router, try_or_400};

fn fail() -> Response {
    std::panic::panic_any("on purpose")
}

fn route(request: &Request) -> Response {
    router!(request,
        (GET) (/) => { Response::text("hello") },
        (GET) (/item/{id: u32}) => { Response::json(&id) },
        (POST) (/echo) => {
            let body = try_or_400!(rouille::input::plain_text_body(request));
            Response::text(body)
        },
        (GET) (/who) => {
            let agent = request.header("user-agent").unwrap_or("nobody").to_owned();
            Response::text(format!("{agent} {} {}", request.raw_url(), request.remote_addr().ip()))
        },
        (GET) (/panic) => { fail() },
        _ => Response::empty_404()
    )
}

/// Sends one request on a connection of its own; the status and the body.
fn ask(addr: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nConnection: close\r\n\r\n"))
}

#[test]
fn its_routes_are_served() {
    let server = Server::new("127.0.0.1:0", route).unwrap().pool_size(4);
    let addr = server.server_addr();
    let (handle, stop) = server.stoppable();
    assert_eq!(get(addr, "/"), (200, "hello".to_owned()));
    assert_eq!(get(addr, "/item/42"), (200, "42".to_owned()));
    assert_eq!(get(addr, "/item/x").0, 404);
    assert_eq!(get(addr, "/who?a=b"), (200, "test /who?a=b 127.0.0.1".to_owned()));
    assert_eq!(get(addr, "/panic").0, 500);
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(ask(addr, post), (200, "body".to_owned()));
    assert_eq!(ask(addr, "GET / HTTP/1.1\r\n\r\n").0, 400, "it is this engine");
    stop.send(()).unwrap();
    handle.join().unwrap();
}
