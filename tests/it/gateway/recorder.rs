//! A homeserver that answers little and tells exactly what reached it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::rig::PATIENCE;

/// Listens until the test's process ends.
pub(crate) struct Recorder {
    /// Its base URL.
    pub(crate) base: String,
    heard: Receiver<Heard>,
}

/// One request, byte by byte.
pub(crate) struct Heard {
    /// Request line and headers.
    pub(crate) head: String,
    /// Body, taken out of its chunks; what came of it.
    pub(crate) body: Vec<u8>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || drop(serve(stream, &tell)));
            }
        });
        Self { base, heard }
    }

    /// The next request.
    pub(crate) fn next(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("a request")
    }

    /// All that came so far and was not asked for.
    pub(crate) fn so_far(&self) -> Vec<Heard> {
        self.heard.try_iter().collect()
    }
}

impl Heard {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// One connection, however many requests it carries.
fn serve(stream: TcpStream, tell: &Sender<Heard>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut polls = 0;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let (body, whole) = body(&head, &mut reader);
        let heard = Heard { head, body };
        let path = heard.path().to_owned();
        drop(tell.send(heard));
        whole?;
        match path.split('?').next().unwrap_or_default() {
            "/_matrix/hang" => std::thread::sleep(PATIENCE),
            _ if path.contains("since=hang") => std::thread::sleep(PATIENCE),
            "/_matrix/leave" => writer.write_all(
                b"HTTP/1.1 302 Found\r\nLocation: /_synapse/admin\r\nContent-Length: 0\r\n\r\n",
            )?,
            "/_matrix/large" => {
                let large = "x".repeat(1 << 20);
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len() + 2)?;
                write!(writer, "\"{large}\"")?;
            }
            "/_matrix/client/v3/sync" => {
                polls += 1;
                let answer = format!(r#"{{"next_batch":"s{polls}"}}"#);
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len())?;
                writer.write_all(answer.as_bytes())?;
            }
            _ => writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?,
        }
    }
}

/// The body as far as it came, and whether it came whole.
fn body(head: &str, reader: &mut impl BufRead) -> (Vec<u8>, std::io::Result<()>) {
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = Vec::new();
    let whole = if header("transfer-encoding").is_some() {
        chunks(reader, &mut body)
    } else {
        let length: u64 = header("content-length").map_or(0, |length| length.parse().unwrap());
        match reader.take(length).read_to_end(&mut body) {
            Ok(read) if (read as u64) < length => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    };
    (body, whole)
}

fn chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        reader.take(length).read_to_end(body)?;
        line.clear();
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
    }
}
