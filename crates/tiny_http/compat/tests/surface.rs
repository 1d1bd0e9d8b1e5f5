//! The public API of 0.12, name by name: this compiles against the published crate as well (but for `num_connections`,
//! which panics there).

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::time::Duration;

use tiny_http::{
    ConfigListenAddr, HTTPVersion, Header, HeaderField, IncomingRequests, ListenAddr, Listener, Method, ReadWrite,
    Request, Response, ResponseBox, Server, ServerConfig, SslConfig, StatusCode, TestRequest,
};

type StartError = Box<dyn std::error::Error + Send + Sync + 'static>;

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}
fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

#[test]
fn auto_traits_are_as_they_were() {
    is_send::<Request>();
    is_send::<Server>();
    is_sync::<Server>();
    is_unwind_safe::<Server>();
    is_send::<ResponseBox>();
    is_send::<Response<Cursor<Vec<u8>>>>();
    is_send::<ListenAddr>();
    is_sync::<Listener>();
    is_send::<IncomingRequests<'static>>();
    is_unwind_safe::<Header>();
    is_sync::<TestRequest>();
}

#[test]
fn servers_are_made_and_asked_as_they_were() {
    let by_address: fn(&'static str) -> Result<Server, StartError> = Server::http::<&str>;
    let by_path: fn(&Path) -> Result<Server, StartError> = Server::http_unix;
    let by_config: fn(ServerConfig) -> Result<Server, StartError> = Server::new;
    let by_listener: fn(TcpListener, Option<SslConfig>) -> Result<Server, StartError> =
        Server::from_listener::<TcpListener>;
    let path = std::env::temp_dir().join(format!("tiny-http-surface-{}.sock", std::process::id()));
    let unix = by_path(&path).unwrap();
    assert!(unix.server_addr().to_unix().is_some() && unix.server_addr().to_ip().is_none());
    let addr = ConfigListenAddr::from_socket_addrs("127.0.0.1:0").unwrap();
    assert!(matches!(ConfigListenAddr::unix_from_path("/x"), ConfigListenAddr::Unix(_)));
    let configured = by_config(ServerConfig { addr: addr.clone(), ssl: None }.clone()).unwrap();
    assert!(matches!(addr, ConfigListenAddr::IP(_)));
    let listening = by_listener(TcpListener::bind("127.0.0.1:0").unwrap(), None).unwrap();
    for server in [by_address("127.0.0.1:0").unwrap(), configured, listening] {
        let ip: SocketAddr = server.server_addr().to_ip().unwrap();
        assert_eq!(ListenAddr::from(ip).to_string(), ip.to_string());
        assert!(server.try_recv().unwrap().is_none());
        assert!(server.recv_timeout(Duration::from_millis(1)).unwrap().is_none());
        server.unblock();
        assert!(server.recv().is_err());
        server.unblock();
        assert!(server.incoming_requests().next().is_none());
    }
}

#[test]
fn requests_are_read_and_answered_as_they_were() {
    let request = || -> Request {
        TestRequest::new()
            .with_method(Method::Post)
            .with_path("/a?b")
            .with_body("body")
            .with_https()
            .with_http_version(HTTPVersion(1, 1))
            .with_remote_addr("127.0.0.2:80".parse().unwrap())
            .with_header("X-Y: z".parse().unwrap())
            .into()
    };
    let mut one = request();
    assert!(one.secure());
    assert_eq!((one.method(), one.url(), one.http_version()), (&Method::Post, "/a?b", &HTTPVersion(1, 1)));
    assert_eq!(one.headers().iter().map(ToString::to_string).collect::<Vec<_>>(), ["X-Y: z", "Content-Length: 4"]);
    assert_eq!((one.body_length(), one.remote_addr()), (Some(4), Some(&"127.0.0.2:80".parse().unwrap())));
    assert!(format!("{one:?}").contains("POST /a?b"));
    let mut body = String::new();
    let reader: &mut dyn Read = one.as_reader();
    reader.read_to_string(&mut body).unwrap();
    assert_eq!(body, "body");
    one.respond(Response::from_string("x")).unwrap();
    let mut writer: Box<dyn Write + Send> = request().into_writer();
    writer.write_all(b"x").unwrap();
    let _stream: Box<dyn ReadWrite + Send> = request().upgrade("x", Response::empty(101));
}

#[test]
fn values_are_what_they_were() {
    let status: StatusCode = 404_u16.into();
    assert!(status == 404_u16 && status.as_ref() == &404 && status.default_reason_phrase() == "Not Found");
    let header = Header::from_bytes("A", "b").unwrap();
    let Header { field, value } = header.clone();
    assert!(field.equiv("a") && field == HeaderField::from_bytes("a").unwrap() && value.as_str() == "b");
    assert!("QUERY".parse::<Method>().is_ok_and(|method| matches!(method, Method::NonStandard(_))));
    let mut boxed: ResponseBox =
        Response::from_data(vec![1, 2]).with_status_code(201).with_header(header.clone()).boxed();
    boxed.add_header(header);
    assert_eq!((boxed.status_code(), boxed.data_length(), boxed.headers().len()), (StatusCode(201), Some(2), 2));
    assert_eq!(boxed.with_chunked_threshold(1).chunked_threshold(), 1);
    let mut out = Vec::new();
    Response::new_empty(StatusCode(204)).raw_print(&mut out, HTTPVersion(1, 1), &[], false, None).unwrap();
    assert!(out.starts_with(b"HTTP/1.1 204 No Content\r\n"));
    let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    assert!(Response::from_file(file).data_length().is_some());
    let chained =
        Response::new(StatusCode(200), Vec::new(), std::io::empty(), None, None).with_data(&b"x"[..], Some(1));
    let mut read = Vec::new();
    chained.into_reader().read_to_end(&mut read).unwrap();
    assert_eq!(read, b"x");
}
