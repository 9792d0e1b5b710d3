//! A TCP relay on 127.0.0.1 that cuts connections where it hurts.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use crate::homeserver::Place;

/// Where the next cut goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    /// Nowhere: pass everything on.
    None = 0,
    /// In the middle of the next bytes from the client.
    InsideRequest = 1,
    /// After the next bytes from the client went through, before any answer comes back.
    BeforeAnswer = 2,
    /// In the middle of the next bytes from the server.
    InsideAnswer = 3,
    /// Nowhere, but nothing from the server comes through until something else is armed.
    Mute = 4,
    /// In the middle of the next large piece from the client: a file on its way.
    InsideFile = 5,
    /// In the middle of the next large piece from the server.
    InsideDownload = 6,
}

/// More bytes than this come at once only of files.
const LARGE: usize = 24 << 10;

/// The relay; lives as long as the process.
pub(crate) struct Cutter {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    armed: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    /// Stands before a homeserver, or before the stream where grotto is told of one; gives the way
    /// through it too.
    pub(crate) fn before(place: &Place) -> (Self, Place) {
        let url = place.stream_url.as_ref().unwrap_or(&place.base);
        let (_, address) = url.split_once("://").unwrap();
        let address = address.split('/').next().unwrap();
        let cutter = Self::start(address.parse().unwrap());
        let through = url.replace(address, &cutter.address.to_string());
        let place = match &place.stream_url {
            Some(_) => Place { stream_url: Some(through), ..place.clone() },
            None => Place::at(through),
        };
        (cutter, place)
    }

    /// Relays to `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (armed, cuts) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicUsize::new(0)));
        let (shared_armed, shared_cuts) = (armed.clone(), cuts.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The far end may be restarting: the client sees a connection that closes at once.
                let Ok(server) = TcpStream::connect(target) else { continue };
                relay(&client, &server, &shared_armed, &shared_cuts);
            }
        });
        Self { address, armed, cuts }
    }

    /// Arms one cut.
    pub(crate) fn arm(&self, cut: Cut) {
        self.armed.store(cut as u8, Ordering::SeqCst);
    }

    /// How many cuts were made.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn relay(client: &TcpStream, server: &TcpStream, armed: &Arc<AtomicU8>, cuts: &Arc<AtomicUsize>) {
    for upwards in [true, false] {
        let (from, to) = if upwards { (client, server) } else { (server, client) };
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let (armed, cuts) = (armed.clone(), cuts.clone());
        std::thread::spawn(move || {
            let mut buffer = vec![0_u8; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let (pass, end) = fate(&armed, upwards, count);
                if to.write_all(&buffer[..pass]).is_err() {
                    break;
                }
                if end {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    break;
                }
            }
            drop(from.shutdown(Shutdown::Both));
            drop(to.shutdown(Shutdown::Both));
        });
    }
}

/// How many of `count` bytes pass, and whether the connection ends after them.
fn fate(armed: &AtomicU8, upwards: bool, count: usize) -> (usize, bool) {
    let fire =
        |cut: Cut| armed.compare_exchange(cut as u8, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if upwards {
        if fire(Cut::InsideRequest) || (LARGE < count && fire(Cut::InsideFile)) {
            return (count / 2, true);
        }
        if fire(Cut::BeforeAnswer) {
            return (count, true);
        }
    } else if armed.load(Ordering::SeqCst) == Cut::Mute as u8 {
        return (0, false);
    } else if fire(Cut::InsideAnswer) || (LARGE < count && fire(Cut::InsideDownload)) {
        return (count / 2, true);
    }
    (count, false)
}
