//! Files, and what was found by searching.

use serde_json::json;

use super::World;
use crate::differ::call::{Body, Call, Who};

impl World {
    /// A file, of one's own or of others, or a search.
    pub(super) fn media(&mut self) -> Call {
        let person = self.anybody();
        let who = self.random.of(&[Who::Person(person), Who::Person(person), Who::Nobody]);
        let file = match self.files {
            0 => "nosuchfile".to_owned(),
            files => format!("{{m{}}}", self.random.below(files)),
        };
        let get = |template| Call::new(who.clone(), "GET", template).status_only();
        match self.random.below(8) {
            0 | 1 => {
                let name = format!("{{m{}}}", self.files);
                self.files += 1;
                let mut call = Call::new(who, "POST", "/media/v3/upload");
                call.body = Body::Raw(b"some bytes of a file".to_vec());
                call.bind("/content_uri", name)
            }
            2 | 3 => get("/client/v1/media/download/localhost/{}").with([&file]),
            4 => get("/client/v1/media/download/elsewhere.example/{}").with([&file]),
            5 => get("/media/v3/download/localhost/{}").with([&file]),
            6 => get("/client/v1/media/config"),
            _ => {
                let term = self.prefix.clone();
                Call::new(who, "POST", "/client/v3/user_directory/search")
                    .json(json!({"search_term": self.random.of(&[term, String::new()])}))
                    .status_only()
            }
        }
    }
}
