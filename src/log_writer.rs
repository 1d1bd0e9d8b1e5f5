//! The one thread that writes to stderr, for the process's own log and for the access log.
//!
//! Invariant: nobody waits for the log. Lines go through a bounded queue; when whoever reads stderr cannot keep up, lines are
//! dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::access_log::{LogFormat, Record};
use crate::metrics::Metrics;

/// Lines that may wait to be written.
pub const QUEUE_LENGTH: usize = 4_096;
/// Lines that are written with one call, at most.
const LINES_A_WRITE: usize = 256;

enum Message {
    /// An answer that is to be logged; it is put into words by the writer, not by the worker.
    Answered(Record),
    /// Whole lines.
    Lines(Vec<u8>),
    /// Everything before this has been written; who asked is told.
    Flush(Sender<()>),
}

/// The way to the writer; each holder has one of its own.
#[derive(Clone)]
pub struct LogWriter {
    queue: Sender<Message>,
    metrics: Arc<Metrics>,
}

impl LogWriter {
    /// Starts the writer. It ends with the process.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: LogFormat, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (writer, messages) = Self::to(QUEUE_LENGTH, metrics);
        let write = move || write_all(&messages, format, &mut io::stderr());
        thread::Builder::new().name("log-writer".to_owned()).spawn(write)?;
        Ok(writer)
    }

    fn to(queue_length: usize, metrics: Arc<Metrics>) -> (Self, Receiver<Message>) {
        let (queue, messages) = crossbeam_channel::bounded(queue_length);
        (Self { queue, metrics }, messages)
    }

    /// Hands an answer's record to the writer, or drops it.
    pub fn answered(&self, record: Record) {
        self.send(Message::Answered(record));
    }

    /// Waits until what was handed over before is written, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        let (written, done) = crossbeam_channel::bounded(1);
        if self.queue.send_timeout(Message::Flush(written), patience).is_ok() {
            // Whether it was written in time makes no difference to what comes next: the end.
            let _in_time = done.recv_timeout(patience);
        }
    }

    fn send(&self, message: Message) {
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.metrics.log_records_dropped.inc(),
        }
    }
}

/// For `env_logger`, which writes whole lines.
impl Write for LogWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.send(Message::Lines(lines.to_vec()));
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(messages: &Receiver<Message>, format: LogFormat, out: &mut impl Write) {
    let mut lines = Vec::new();
    while let Ok(first) = messages.recv() {
        lines.clear();
        let mut waiting = None;
        // What has gathered meanwhile goes out in the same write.
        for message in std::iter::once(first).chain(messages.try_iter().take(LINES_A_WRITE - 1)) {
            match message {
                Message::Answered(record) => record.write_line(format, &mut lines),
                Message::Lines(whole) => lines.extend_from_slice(&whole),
                Message::Flush(done) => waiting = Some(done),
            }
        }
        // With stderr gone there is nobody left to tell, and whoever waited may have given up.
        let _unreported = out.write_all(&lines);
        let _gave_up = waiting.map(|done| done.try_send(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        let metrics = Arc::new(Metrics::new("p"));
        let (mut writer, _unread) = LogWriter::to(1, metrics.clone());
        for _ in 0..5 {
            writer.write_all(b"line\n").unwrap();
        }
        assert_eq!(metrics.log_records_dropped.get(), 4);
        LogWriter::flush(&writer, Duration::ZERO);
    }

    #[test]
    fn what_was_handed_over_is_written_when_a_flush_returns() {
        let (mut writer, messages) = LogWriter::to(10, Arc::new(Metrics::new("p")));
        let mut out = Vec::new();
        writer.write_all(b"one\n").unwrap();
        writer.write_all(b"two\n").unwrap();
        let (written, done) = crossbeam_channel::bounded(1);
        writer.send(Message::Flush(written));
        drop(writer);
        write_all(&messages, LogFormat::Text, &mut out);
        assert_eq!((out, done.try_recv()), (b"one\ntwo\n".to_vec(), Ok(())));
    }
}
