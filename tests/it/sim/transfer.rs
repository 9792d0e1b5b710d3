//! Files on their way, as `engine::driver` carries them: encrypted on the client's side, kept by the
//! homeserver, decrypted and checked on the way back. They may break off.

use grotto::{
    e2ee::{Decryptor, Encryptor, FileKey},
    engine::{
        CommandError, Download, Place, Secrecy, Sink, TransferEvent, TransferFailure, TransferKind,
        TransferOrder, Upload, UploadSource,
    },
    matrix::MxcUri,
    secret::Secret,
    store::{FilePlace, UploadedFile},
};

use super::{queue::Event, world::World};

impl World {
    pub(super) fn order_transfers(&mut self, client: usize, orders: Vec<TransferOrder>) {
        let Some(connection) = self.clients[client].connection else { return };
        for order in orders {
            let pause = 1 + self.rng.below(400);
            self.after(pause, Event::Carried { client, connection, order });
        }
    }

    pub(super) fn carried(&mut self, (client, connection): (usize, u64), order: TransferOrder) {
        if self.clients[client].connection != Some(connection) {
            return;
        }
        let broken = self.now < self.down_until || self.rng.percent(self.faults.refuse);
        let event = match order.kind {
            TransferKind::Cancel => return,
            TransferKind::Upload(upload) => {
                let uploaded = self.upload(upload);
                if broken {
                    failed("the answer is lost")
                } else {
                    TransferEvent::Uploaded(uploaded)
                }
            }
            TransferKind::Download(_) if broken => failed("broken off"),
            TransferKind::Download(download) => self.download(download),
        };
        self.step(client, |it, world| it.transferred((order.id, event), world));
    }

    fn upload(&mut self, upload: Upload) -> UploadedFile {
        let mut bytes = match upload.source {
            UploadSource::Memory(bytes) => bytes.expose().clone(),
            UploadSource::File(path) => format!("what is in {path}").into_bytes(),
        };
        let size = bytes.len() as u64;
        let id = format!("file{}", self.server.media.len());
        let url = MxcUri::parse(&format!("mxc://sim/{id}")).expect("an address");
        let place = match upload.secrecy {
            Secrecy::Encrypted => {
                let mut encryptor = Encryptor::new(FileKey::generate().expect("randomness"));
                encryptor.encrypt(&mut bytes);
                FilePlace::Encrypted(encryptor.finish().at(url))
            }
            Secrecy::Clear { .. } => FilePlace::Clear(url),
        };
        self.server.media.insert(id, bytes);
        UploadedFile { place, size }
    }

    fn download(&self, download: Download) -> TransferEvent {
        let Some(bytes) = self.server.media.get(download.place.url().id()) else {
            return failed("there is no such file");
        };
        let mut bytes = bytes.clone();
        if let Place::Encrypted(file) = &download.place {
            let mut decryptor = Decryptor::new(file);
            decryptor.decrypt(&mut bytes);
            decryptor.finish().expect("it is what was sent");
        }
        let size = bytes.len() as u64;
        match download.sink {
            Sink::Memory => TransferEvent::Fetched(Secret::new(bytes)),
            Sink::Save { name, .. } => TransferEvent::Saved { path: name, size },
        }
    }
}

fn failed(why: &str) -> TransferEvent {
    let error = CommandError { code: "broken".to_owned(), message: why.to_owned() };
    TransferEvent::Failed(TransferFailure::Broken(error))
}
