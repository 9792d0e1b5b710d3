//! What befalls the world without any client's doing.

use super::{
    client::Client,
    queue::Event,
    schedule::FOUNDER,
    seal::DeviceKey,
    server::{Caller, WEB},
    world::World,
};

/// What befalls the world.
#[derive(Clone, Debug)]
pub(super) enum Incident {
    /// Somebody changes a membership by other means than this program.
    Member { by: String, room: String, user: String, membership: &'static str },
    /// The homeserver is away for so long.
    RestartServer(u64),
    /// The gateway stops in good order and is there again at once.
    StopGateway,
    /// Strangers take all one-time keys of a device.
    Exhaust(usize),
    /// A new device of a user begins, and writes to these rooms.
    NewDevice(DeviceKey, Vec<String>),
    /// Somebody changes who may read what was before.
    Visibility(String, &'static str),
    /// A new device of a user begins, and its owner never makes it part of the account.
    CarelessDevice(DeviceKey),
    /// A device is logged out by other means.
    LogOut(usize),
    /// A clock is set back (forward, if negative) by so many milliseconds.
    ClockBack(usize, i64),
    /// A process is killed; it starts again after so long.
    Kill(usize, u64),
    /// All machines sleep for so long.
    Sleep(u64),
    /// A person blocks a device.
    Block(usize, DeviceKey),
}

impl World {
    pub(super) fn befall(&mut self, incident: Incident) {
        self.tell(format_args!("{incident:?}"));
        match incident {
            Incident::Member { by, room, user, membership } => {
                self.server.member(&Caller::new(&by, WEB), &room, &user, membership);
            }
            Incident::RestartServer(pause) => self.restart_server(pause),
            Incident::StopGateway => self.stop_gateway(),
            Incident::Exhaust(client) => self.server.exhaust(&self.clients[client].caller),
            Incident::NewDevice((user, device), rooms) => {
                self.add_client(Client::new(&user, &device));
                let client = self.clients.len() - 1;
                for (line, room) in rooms.iter().enumerate() {
                    self.type_after(3_000 + 4_000 * line as u64, client, room, "new here");
                }
            }
            Incident::Visibility(room, visibility) => {
                self.server.set_visibility(&Caller::new(FOUNDER, WEB), &room, visibility);
            }
            Incident::CarelessDevice((user, device)) => {
                let mut client = Client::new(&user, &device);
                client.owner.careless = true;
                self.add_client(client);
            }
            Incident::LogOut(client) => self.server.log_out(&self.clients[client].caller),
            Incident::ClockBack(client, by) => {
                self.clients[client].set_clock_back(by);
                self.schedule_wake(client);
            }
            Incident::Kill(client, pause) => {
                self.step(client, |it, _| it.stop());
                self.after(pause, Event::Start(client));
            }
            Incident::Sleep(time) => self.sleep(time),
            Incident::Block(client, whom) => {
                self.step(client, |it, _| it.stop());
                let (mood, clients) = self.mood();
                clients[client].block(&whom, &mood);
                self.after(10, Event::Start(client));
            }
        }
    }

    /// Every clock goes on, nothing else does; no link lives so long.
    fn sleep(&mut self, time: u64) {
        for client in &mut self.clients {
            client.set_clock_back(-i64::try_from(time).expect("some weeks"));
        }
        for connection in self.doors.keys().copied().collect::<Vec<_>>() {
            self.cut(connection);
        }
    }
}
