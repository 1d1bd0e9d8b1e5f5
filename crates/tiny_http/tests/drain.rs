//! The end: what was received is answered, nothing new comes in, and it does not take for ever.

mod common;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use tiny_http::{Options, Response, Server};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn server() -> Arc<Server> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Arc::new(Server::with_options(listener, Options { limits: limits(), ..Options::default() }).unwrap())
}

fn work(server: &Arc<Server>) -> thread::JoinHandle<usize> {
    let server = Arc::clone(server);
    thread::spawn(move || {
        let (mut batch, mut answered) = (Vec::new(), 0);
        while server.recv_batch(&mut batch, 8).unwrap() {
            for request in batch.drain(..) {
                thread::sleep(Duration::from_micros(200));
                request.respond(Response::empty(200)).unwrap();
                answered += 1;
            }
        }
        answered
    })
}

#[test]
fn an_idle_server_is_drained_at_once_and_every_receiver_is_told() {
    let server = server();
    let workers = [work(&server), work(&server), work(&server)];
    let mut idle = Client::connect(server.server_addr().to_ip().unwrap());
    idle.send(GET).reply();
    server.begin_drain(PATIENCE);
    assert!(idle.is_closed());
    drop(idle);
    let answered: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(answered, 1);
    assert_eq!(server.recv().unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(server.incoming_requests().count(), 0);
    assert!(TcpStream::connect(server.server_addr().to_ip().unwrap()).is_err(), "nobody listens");
}

#[test]
fn requests_in_hands_are_answered_and_the_last_answer_says_that_it_is() {
    let server = server();
    let mut client = Client::connect(server.server_addr().to_ip().unwrap());
    client.send(GET.repeat(3));
    let held: Vec<_> = (0..3).map(|_| server.recv().unwrap()).collect();
    server.begin_drain(PATIENCE);
    let worker = work(&server);
    held.into_iter().for_each(|request| request.respond(Response::empty(200)).unwrap());
    let closes: Vec<_> = (0..3).map(|_| client.reply().closes()).collect();
    assert_eq!(closes, [false, false, true]);
    assert!(client.is_closed());
    drop(client);
    assert_eq!(worker.join().unwrap(), 0);
}

#[test]
fn requests_that_arrived_before_the_drain_are_answered() {
    let server = server();
    let mut clients: Vec<_> = (0..40).map(|_| Client::connect(server.server_addr().to_ip().unwrap())).collect();
    for client in &mut clients {
        client.send(GET);
    }
    server.begin_drain(PATIENCE);
    let workers = [work(&server), work(&server)];
    for client in &mut clients {
        let reply = client.reply();
        assert!(reply.status == 200 && reply.closes(), "{reply:?}");
    }
    drop(clients);
    assert_eq!(workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>(), 40);
}

#[test]
fn under_load_no_answer_is_cut() {
    let server = server();
    let workers = [work(&server), work(&server)];
    let stop = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicUsize::new(0));
    let addr = server.server_addr().to_ip().unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            thread::spawn(move || {
                let mut client = Client::connect(addr);
                while !stop.load(Ordering::SeqCst) {
                    // What is sent after the last answer was announced is not a request to this server.
                    let reply = client.send_while_open(GET).head().expect("an answer to each request");
                    answers.fetch_add(1, Ordering::SeqCst);
                    if reply.closes() {
                        return;
                    }
                }
            })
        })
        .collect();
    eventually("there is load", || answers.load(Ordering::SeqCst) > 200);
    server.begin_drain(PATIENCE);
    clients.into_iter().for_each(|client| client.join().unwrap());
    stop.store(true, Ordering::SeqCst);
    let answered: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(answered, answers.load(Ordering::SeqCst));
}

#[test]
fn what_is_left_at_the_deadline_is_closed() {
    let server = server();
    let mut client = Client::connect(server.server_addr().to_ip().unwrap());
    client.send(GET);
    let held = server.recv().unwrap();
    let mut upgraded = Client::connect(server.server_addr().to_ip().unwrap());
    upgraded.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n");
    let stream = server.recv().unwrap().upgrade("x", Response::empty(101));
    assert_eq!(upgraded.head().unwrap().status, 101);
    let start = Instant::now();
    server.begin_drain(Duration::from_millis(200));
    assert!(!server.recv_batch(&mut Vec::new(), 1).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(200) && start.elapsed() < PATIENCE);
    assert!(client.is_gone() && upgraded.is_gone());
    held.respond(Response::empty(200)).unwrap();
    drop(stream);
    assert_eq!(server.num_connections(), 0);
}
