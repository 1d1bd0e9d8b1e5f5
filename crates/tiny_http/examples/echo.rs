//! Four threads send back what they are sent, however long it is, as it comes in.

use std::thread;

use tiny_http::{Response, Server};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = Server::http("127.0.0.1:0")?;
    println!("http://{}/", server.server_addr());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for mut request in server.incoming_requests() {
                    let mut body = Vec::new();
                    let response = match request.as_reader().read_to_end(&mut body) {
                        Ok(_) => Response::from_data(body),
                        Err(error) => Response::from_string(error.to_string()).with_status_code(400),
                    };
                    // A client that is gone does not matter here.
                    let _ = request.respond(response);
                }
            });
        }
    });
    Ok(())
}
