//! Two threads that take requests in batches and answer from buffers they use again: nothing is allocated for an answer.
//! An argument is the port; without it the system chooses one.

use std::thread;

use tiny_http::{FieldLines, Options, Server, StatusCode};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let port = std::env::args().nth(1).map_or(Ok(0), |port| port.parse::<u16>())?;
    let mut options = Options::default();
    options.limits.requests_per_connection = u64::MAX;
    let server = Server::with_options(std::net::TcpListener::bind(("127.0.0.1", port))?, options)?;
    println!("http://{}/", server.server_addr());
    let mut fields = FieldLines::new();
    fields.push("Content-Type", b"application/json")?;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut batch = Vec::new();
                while let Ok(true) = server.recv_batch(&mut batch, 64) {
                    for request in batch.drain(..) {
                        // A client that is gone does not matter here.
                        let _ = request.respond_parts(StatusCode(200), &fields, br#"{"status":"healthy"}"#);
                    }
                }
            });
        }
    });
    Ok(())
}
