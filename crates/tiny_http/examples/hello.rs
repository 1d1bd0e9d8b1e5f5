//! The least there is: one thread, one answer. Prints where it listens.

use tiny_http::{Response, Server};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = Server::http("127.0.0.1:0")?;
    println!("http://{}/", server.server_addr());
    for request in server.incoming_requests() {
        request.respond(Response::from_string("Hello.\n"))?;
    }
    Ok(())
}
