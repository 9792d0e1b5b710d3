//! The differences that are meant, each with its reason. `docs/serve-differences.md` is the same, see
//! `page.rs`.
//!
//! None of them is a rule of who may do or see what: a test there sees to that.

/// Something that `serve` does otherwise. Patterns: ` | ` between alternatives, `*` at the end of
/// one for anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    /// Which calls: method and path as the report names them.
    pub(super) call: &'static str,
    /// What was made wrong about the call; nothing for a call as a client makes it.
    pub(super) wrong: &'static str,
    /// Where in the answer: `answer` for status and code, `event.` for a field of any event.
    pub(super) place: &'static str,
    /// What Synapse says.
    pub(super) synapse: &'static str,
    /// What `serve` says.
    pub(super) serve: &'static str,
    /// Why.
    pub(super) reason: &'static str,
}

const fn answer(
    call: &'static str,
    synapse: &'static str,
    serve: &'static str,
    reason: &'static str,
) -> Difference {
    Difference { call, wrong: "*", place: "answer", synapse, serve, reason }
}

const fn field(call: &'static str, place: &'static str, reason: &'static str) -> Difference {
    Difference { call, wrong: "*", place, synapse: "*", serve: "*", reason }
}

const UNREADABLE: &str =
    "400 M_UNKNOWN | 400 M_BAD_JSON | 400 M_INVALID_PARAM | 400 M_MISSING_PARAM | 400 M_NOT_JSON";

/// All of them.
pub(super) const DIFFERENCES: &[Difference] = &[
    answer(
        "*",
        UNREADABLE,
        UNREADABLE,
        "A call that cannot be read: the specification leaves open which of these codes it gets.",
    ),
    answer(
        "*",
        "500 M_UNKNOWN",
        "4*",
        "Synapse fails inside on some wrong types; serve says what is wrong.",
    ),
    Difference {
        call: "*",
        wrong: "an argument* | a query* | a body* | a field* | an empty body | another method",
        place: "answer",
        synapse: "403 M_FORBIDDEN | 404 *",
        serve: "400 M_BAD_JSON | 400 M_INVALID_PARAM | 400 M_MISSING_PARAM | 400 M_NOT_JSON",
        reason: "serve reads the whole call before it asks what the caller may.",
    },
    Difference {
        call: "*",
        wrong: "an argument* | a query* | a body* | a field* | no body",
        place: "answer",
        synapse: "400 *",
        serve: "403 M_FORBIDDEN | 404 *",
        reason: "Two things are wrong with the call; serve tells the caller first what they may not.",
    },
    Difference {
        call: "DELETE /client/v3/pushrules/*",
        wrong: "another method",
        place: "answer",
        synapse: "404 M_NOT_FOUND",
        serve: "405 M_UNRECOGNIZED",
        reason: "There is no such endpoint, whatever its arguments.",
    },
    Difference {
        call: "GET /client/v3/rooms/%2F/state/ | PUT /client/v3/rooms/%2F/state/",
        wrong: "another path",
        place: "answer",
        synapse: "403 M_FORBIDDEN",
        serve: "400 M_BAD_JSON",
        reason: "No room has this name.",
    },
    Difference {
        call: "*",
        wrong: "an argument* | a query* | a body* | a field*",
        place: "answer",
        synapse: "200",
        serve: "400 *",
        reason: "serve takes no body that is not what the specification says; Synapse takes some.",
    },
    answer(
        "POST /client/v3/rooms/{}/kick | POST /client/v3/rooms/{}/unban | \
        PUT /client/v3/rooms/{}/redact/{}/{} | GET /client/v1/rooms/{}/relations/{}* | \
        POST /client/v3/rooms/{}/upgrade | PUT /client/v3/rooms/{}/state/m.room.member/{}",
        "404 M_UNKNOWN | 404 M_NOT_FOUND",
        "403 M_FORBIDDEN",
        "A room that is not there is told as one the caller is not in.",
    ),
    answer(
        "*",
        "502 M_UNKNOWN",
        "404 M_NOT_FOUND",
        "There is no federation: a room of another server is none.",
    ),
    answer(
        "GET /client/v1/rooms/{}/relations/{}* | GET /client/v3/profile/{}* | \
        GET /client/v3/rooms/{}/context/{}",
        "404 M_UNKNOWN",
        "404 M_NOT_FOUND",
        "Synapse says that there is no such thing with a code that does not say so.",
    ),
    answer(
        "GET /client/v1/room_summary/{}",
        "400 M_UNKNOWN",
        "404 M_NOT_FOUND",
        "There is no federation to ask for a room that is not here.",
    ),
    answer(
        "GET /client/v3/rooms/{}/context/{}",
        "403 M_FORBIDDEN",
        "404 M_NOT_FOUND",
        "Nobody gets to know whether there is an event that they may not see.",
    ),
    answer(
        "PUT /client/v3/profile/{}/* | PUT /client/v3/rooms/{}/typing/{}",
        "400 M_FORBIDDEN",
        "403 M_FORBIDDEN",
        "The status that belongs to the code.",
    ),
    answer(
        "PUT /client/v3/rooms/{}/state/* | PUT /client/v3/rooms/{}/send/{}/{} | \
         POST /client/v3/createRoom",
        "400 *",
        "403 M_FORBIDDEN",
        "What the authorization rules forbid is told as that; Synapse looks at some contents first.",
    ),
    answer(
        "GET /client/v3/rooms/{}/members | GET /client/v3/rooms/{}/state* | \
        GET /client/v3/rooms/{}/messages | GET /client/v3/rooms/{}/joined_members | \
        GET /client/v1/rooms/{}/timestamp_to_event",
        "200 | 404 M_NOT_FOUND",
        "403 M_FORBIDDEN",
        "serve is stricter: who was invited and never came in reads nothing, and only those in a \
        room list those in it.",
    ),
    answer(
        "GET /client/v3/rooms/{}/initialSync",
        "200 | 401 * | 403 M_FORBIDDEN",
        "404 M_UNRECOGNIZED",
        "Deprecated since 2016; no client of today asks for it.",
    ),
    answer(
        "GET /client/v3/user/{}/rooms/{}/account_data/{}",
        "200",
        "404 M_NOT_FOUND",
        "Synapse has an empty object of push rules for each room.",
    ),
    answer(
        "POST /client/v3/user/{}/filter",
        "200",
        "400 M_BAD_JSON",
        "A limit below nothing is no limit.",
    ),
    field(
        "*",
        "event.age | event.user_id | event.replaces_state | event.prev_content | \
        event.redacted_because | event.invite_room_state",
        "Fields of events of version 1 of the interface, which Synapse repeats for old clients; \
        they are in `unsigned`.",
    ),
    field(
        "GET /client/* | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        "event.unsigned.membership | event.unsigned.transaction_id",
        "serve says with every event what the reader was when it was sent; Synapse only in \
        timelines.",
    ),
    field(
        "GET /client/v3/rooms/{}/* | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        "event.unsigned.prev_content | \
        event.unsigned.prev_sender | event.unsigned.replaces_state",
        "serve says with every state event what it replaced; Synapse mostly.",
    ),
    field(
        "*",
        "event.unsigned.redacted_because* | event.unsigned.redacted_by",
        "The redaction comes with what it redacted, as an event; its own `unsigned` is left out.",
    ),
    field(
        "*",
        "event.content.historical | event.content.events.m.call.invite | \
        event.unsigned.prev_content.historical | event.unsigned.prev_content.events.m.call.invite",
        "Power levels that Synapse adds to new rooms for features that serve does not have.",
    ),
    field(
        "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        ".lists.all.ops | .lists | .rooms.*.unstable_expanded_timeline",
        "Of the proposal before this one, which Synapse still speaks.",
    ),
    answer(
        "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        "400 M_UNKNOWN",
        "400 M_UNKNOWN_POS",
        "The code that the proposal has for a place that is not known.",
    ),
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".extensions.typing | .extensions.typing.rooms | .extensions.typing.rooms.* | \
                .extensions.receipts | .extensions.receipts.rooms | .extensions.receipts.rooms.*",
        synapse: "{*",
        serve: "-",
        reason: "serve is stricter: who types and reads in a room is for those in it.",
    },
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".extensions.account_data | .extensions.account_data.rooms | \
                .extensions.account_data.rooms.*",
        synapse: "{\"rooms\":* | {\"{r* | [{\"content\":{\"tags\":{}}*",
        serve: "-",
        reason: "No tags are as good as none.",
    },
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".rooms.*.heroes",
        synapse: "[*",
        serve: "-",
        reason: "Synapse repeats the heroes of rooms that have a name.",
    },
    Difference {
        call: "GET /client/v3/sync",
        wrong: "*",
        place: ".rooms.leave.*.account_data",
        synapse: "{\"events\":[{\"content\":{\"tags\":{}}*",
        serve: "-",
        reason: "No tags are as good as none.",
    },
    Difference {
        call: "GET /client/v3/sync",
        wrong: "*",
        place: ".rooms.leave.*.state | .rooms.leave.*.state_after",
        synapse: "{*",
        serve: "-",
        reason: "serve is stricter: who is banned from a room that they were never in gets their \
                 own membership only, and that is in the timeline.",
    },
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".rooms.*.required_state",
        synapse: "[{\"content\":{\"membership\":\"leave\"*",
        serve: "-",
        reason: "serve is stricter: who was never in a room gets their own membership only, and \
                 that is in the timeline.",
    },
    Difference {
        call: "GET /client/v3/sync",
        wrong: "*",
        place: ".rooms.leave.*.state_after",
        synapse: "-",
        serve: "{*",
        reason: "serve says what holds after the timeline also where that is in it.",
    },
    Difference {
        call: "GET /client/v3/sync",
        wrong: "*",
        place: ".rooms.leave.*.timeline.limited",
        synapse: "true",
        serve: "-",
        reason: "Synapse says so of rooms that somebody never was in, who gets no more of them.",
    },
    Difference {
        call: "GET /client/v3/* | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".account_data.events[].content.global.override[].enabled | \
                .extensions.account_data.global[].content.global.override[].enabled | \
                .global.override[].enabled | .enabled",
        synapse: "true",
        serve: "false",
        reason: "Synapse turns `.m.rule.master` on when its actions are set.",
    },
    field(
        "POST /client/v3/publicRooms",
        ".total_room_count_estimate",
        "Of all public rooms at Synapse, of those that were searched for at serve.",
    ),
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".rooms.*.notification_count | .rooms.*.highlight_count",
        synapse: "-",
        serve: "*",
        reason: "Synapse does not count yet.",
    },
    field(
        "GET /client/v3/keys/changes",
        ".changed[fewer] | .left[fewer]",
        "Synapse pays no attention to `to`, and names some as left who never shared a room.",
    ),
    field(
        "GET /client/v3/sync | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        "event.room_id",
        "In a sync the room is the key; Synapse repeats it in the first event of a room.",
    ),
    field(
        "GET /client/v3/rooms/{}/messages",
        ".end",
        "serve leaves it out once there is nothing more; Synapse says so on the next, empty page.",
    ),
    field(
        "GET /client/v3/rooms/{}/joined_members",
        ".joined.*.avatar_url | .joined.*.display_name",
        "What is null is left out.",
    ),
    field(
        "GET /client/v1/rooms/{}/hierarchy | GET /client/v1/room_summary/{}",
        ".rooms[].name | .name",
        "An empty name is none.",
    ),
    field(
        "GET /client/v3/sync",
        ".rooms.leave.*.timeline.events[fewer]",
        "serve is stricter: who is banned from a room that they were never in gets their own \
        membership only.",
    ),
    field(
        "GET /client/v3/sync | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        ".device_lists.changed[more] | .extensions.e2ee.device_lists.changed[more]",
        "Synapse forgets somebody invited to one room who is banned from another at the same time.",
    ),
    Difference {
        call: "GET /client/v3/sync | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".device_lists | .device_lists.changed | .extensions.e2ee.device_lists | \
                .extensions.e2ee.device_lists.changed",
        synapse: "-",
        serve: "*",
        reason: "Synapse forgets somebody invited to one room who is banned from another at the \
                 same time.",
    },
    field(
        "GET /client/v3/sync | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        ".device_lists.left[fewer] | .extensions.e2ee.device_lists.left[fewer]",
        "Synapse names some who never shared a room.",
    ),
    Difference {
        call: "GET /client/v3/sync | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".device_lists | .device_lists.left | .extensions.e2ee.device_lists | \
                .extensions.e2ee.device_lists.left",
        synapse: "[* | {\"left\":*",
        serve: "-",
        reason: "Synapse names some who never shared a room.",
    },
    field(
        "POST /client/v3/login",
        ".home_server | .well_known",
        "`home_server` is deprecated; `well_known` is sent once a public address is configured.",
    ),
    field(
        "GET /client/v3/login",
        ".flows[].get_login_token | .flows[].type",
        "serve has only the password flow; Synapse lists that for application services too.",
    ),
    field(
        "GET /client/v3/devices*",
        ".devices[].user_id | .user_id | .devices[].last_seen_ip | \
        .devices[].last_seen_ts | .last_seen_ip | .last_seen_ts",
        "Addresses are not kept; the time is that of the last call at serve, of the last minutes \
        at Synapse; the user is not in the specification.",
    ),
    field("GET /client/v3/account/whoami", ".is_guest", "There are no guests."),
    field(
        "GET /client/v3/rooms/{}/messages",
        ".chunk[fewer]",
        "serve goes by the visibility that each event had, also for those who were never in.",
    ),
    field(
        "GET /client/v3/sync | POST /client/unstable/org.matrix.simplified_msc3575/sync",
        "event.unsigned.m.relations",
        "serve always adds the relations; Synapse only where events are missing.",
    ),
    answer(
        "GET /client/v1/media/download/*",
        "403 M_FORBIDDEN",
        "404 M_NOT_FOUND",
        "There is no federation: a file of another server is none.",
    ),
    answer(
        "GET /media/v3/download/*",
        "404 M_NOT_FOUND",
        "404 M_UNRECOGNIZED",
        "Files are for those with an account: the endpoints without one are not there.",
    ),
    Difference {
        call: "POST /client/v3/createRoom | PUT /client/v3/pushrules/* | \
               PUT /client/v3/rooms/{}/state/{}/{} | PUT /client/v3/rooms/{}/state/{}",
        wrong: "a *",
        place: "answer",
        synapse: "400 *",
        serve: "200",
        reason: "Null is as good as nothing; unknown actions of push rules are kept; lists of \
                 servers mean nothing without federation.",
    },
    answer(
        "POST /client/v3/rooms/{}/read_markers | POST /client/v3/rooms/{}/receipt/{}/{}",
        "403 M_FORBIDDEN",
        "404 M_UNKNOWN",
        "Nobody gets to know whether there is an event that they may not see.",
    ),
    answer(
        "POST /client/v3/rooms/{}/invite | POST /client/v3/rooms/{}/kick | \
         POST /client/v3/rooms/{}/unban | PUT /client/v3/rooms/{}/state/m.room.member/{}",
        "403 M_BAD_STATE",
        "403 M_FORBIDDEN",
        "serve is stricter: nobody outside a room gets to know who is banned there.",
    ),
    answer(
        "POST /client/v3/rooms/{}/ban | POST /client/v3/rooms/{}/kick",
        "200",
        "403 M_FORBIDDEN",
        "Synapse says yes to what is so already, whoever asks.",
    ),
    answer(
        "POST /client/v3/rooms/{}/forget",
        "200",
        "400 M_UNKNOWN",
        "serve lets nobody forget an invitation that stands; Synapse does once nobody is in the room.",
    ),
    Difference {
        call: "POST /client/v3/createRoom",
        wrong: "a *",
        place: "answer",
        synapse: "400 M_UNSUPPORTED_ROOM_VERSION",
        serve: "400 M_BAD_JSON",
        reason: "Two things are wrong with the call.",
    },
    Difference {
        call: "POST /client/v3/login",
        wrong: "a huge body",
        place: "answer",
        synapse: "200",
        serve: "413 M_TOO_LARGE",
        reason: "Whoever has no token may send 64 KiB.",
    },
    Difference {
        call: "PUT /client/v3/rooms/* | POST /client/v3/*",
        wrong: "a huge body",
        place: "answer",
        synapse: "400 M_UNKNOWN | 403 M_FORBIDDEN | 413 M_TOO_LARGE",
        serve: "403 M_FORBIDDEN | 413 M_TOO_LARGE",
        reason: "Two things are wrong with the call, its size and what it asks for.",
    },
    Difference {
        call: "GET /client/v3/sync",
        wrong: "*",
        place: "event.unsigned.prev_content | event.unsigned.prev_sender",
        synapse: "*",
        serve: "-",
        reason: "serve is stricter: what stood before is for those who could see it.",
    },
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".rooms.*.name",
        synapse: "\"*",
        serve: "-",
        reason: "Synapse repeats the name of a room to those who leave it.",
    },
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".rooms.*.bump_stamp",
        synapse: "-",
        serve: "*",
        reason: "Synapse leaves it out where it did not change.",
    },
    Difference {
        call: "POST /client/unstable/org.matrix.simplified_msc3575/sync",
        wrong: "*",
        place: ".rooms.*.initial | .rooms.*.name",
        synapse: "-",
        serve: "*",
        reason: "serve begins anew with a room that somebody came back to.",
    },
    answer(
        "POST /client/v3/rooms/{}/unban",
        "200",
        "403 M_BAD_STATE",
        "Who unbans themselves at Synapse leaves the room.",
    ),
    Difference {
        call: "P*",
        wrong: "no body",
        place: "answer",
        synapse: "400 *",
        serve: "200",
        reason: "No body is as good as an empty one, where nothing has to be in it.",
    },
    field(
        "GET /client/v1/rooms/{}/hierarchy | GET /client/v1/room_summary/{}",
        ".rooms[].guest_can_join | .guest_can_join",
        "There are no guests.",
    ),
    field(
        "GET /client/v3/rooms/{}/context/{}",
        ".events_after | .events_before",
        "What is empty is left out.",
    ),
    answer(
        "POST /client/v3/rooms/{}/upgrade",
        "400 M_UNKNOWN",
        "403 M_FORBIDDEN",
        "A room is closed once.",
    ),
    Difference {
        call: "POST /client/v3/join/{} | POST /client/v3/rooms/{}/*",
        wrong: "a huge body",
        place: "answer",
        synapse: "413 M_TOO_LARGE",
        serve: "200",
        reason: "Fields that mean nothing are not kept, however large they are.",
    },
    Difference {
        call: "GET /client/v3/sync",
        wrong: "*",
        place: ".rooms | .rooms.leave | .rooms.leave.*",
        synapse: "{\"leave\":* | {\"{r* | {\"!* | {\"account_data* | {\"state* | {\"org* | {\"timeline*",
        serve: "-",
        reason: "Synapse also shows rooms as left that were left in between and are something \
                 else now, or were forgotten.",
    },
    field(
        "POST /client/v3/keys/query",
        ".device_keys.*",
        "Synapse adds an empty object of signatures.",
    ),
];
