//! What these tests share: URIs, sources over test servers, and a TCP door before a Unix socket.

use block::BlockSource;
use nbd::{NbdSource, Options, Uri};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A URI that must be one.
pub fn uri(text: &str) -> Uri {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Options with short patience, for tests of failures.
pub fn hasty() -> Options {
    Options {
        handshake_timeout: Duration::from_secs(5),
        reply_timeout: Duration::from_secs(5),
        reconnect: Duration::from_secs(2),
        ..Options::default()
    }
}

/// The error of something that must fail, as text.
pub fn failure<T>(result: block::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.to_string(),
    }
}

/// A source that must open.
pub fn open(text: &str) -> NbdSource {
    NbdSource::open(&uri(text), &Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// All bytes of a source.
pub fn read_all(source: &dyn BlockSource) -> Vec<u8> {
    let mut bytes = vec![0xA5; source.size() as usize];
    for (number, piece) in bytes.chunks_mut(1 << 20).enumerate() {
        source.read_at(piece, (number as u64) << 20).unwrap_or_else(|error| panic!("{error}"));
    }
    bytes
}

/// A TCP port that leads to a Unix socket, which may change, and whose connections can be cut.
pub struct Door {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    target: Option<PathBuf>,
    open: Vec<TcpStream>,
    accepted: usize,
}

impl Door {
    /// A door to `target`.
    pub fn to(target: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { target: Some(target.into()), ..State::default() }));
        let shared = Arc::downgrade(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(state) = shared.upgrade() else { return };
                let mut state = state.lock().unwrap();
                state.accepted += 1;
                let server = state.target.as_ref().and_then(|path| UnixStream::connect(path).ok());
                if let Some(server) = server {
                    state.open.push(client.try_clone().unwrap());
                    join(client, server);
                }
            }
        });
        Door { address, state }
    }

    /// `nbd://…` of an export behind it.
    pub fn uri(&self, export: &str) -> String {
        format!("nbd://{}/{export}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Leads new connections elsewhere, or nowhere: then they are closed at once.
    pub fn lead_to(&self, target: Option<&Path>) {
        self.state.lock().unwrap().target = target.map(Into::into);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for stream in self.state.lock().unwrap().open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections were made.
    pub fn accepted(&self) -> usize {
        self.state.lock().unwrap().accepted
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.cut();
        // Wakes the listener, which then finds that the door is gone.
        self.state = Arc::default();
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes bytes both ways until one side closes.
fn join(client: TcpStream, server: UnixStream) {
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let (mut from_server, mut to_client) = (server, client);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}
