//! One death of the program at every point of what people do with their keys: before a commit, after
//! it with nothing sent, after all was sent with no answer heard. (What lies between two of them is
//! one of them: an answer that came and was not committed is a step that died before its commit.)
//! Then the program starts again, the people go on by what their screens say, and it must end as if
//! nothing had happened.
//!
//! `GROTTO_SIM_DEATH=17 GROTTO_SIM_DEATH_KIND=2` replays one death, with all that happens.

mod keys;
mod messages;
mod person;
mod recovery;
mod sharing;

use std::{
    panic,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{client::Death, number, world::World};

const THREADS: usize = 3;
/// How often people look at their screens before they give up; one second each.
const LOOKS: usize = 1_500;
const DEATHS: [Death; 3] = [Death::BeforeCommit, Death::BeforeRelease, Death::AfterRelease];

/// Something that people want done.
trait Story {
    /// What is there before: nobody dies in it.
    fn begin() -> (World, Self);

    /// People look at their screens and do the next thing.
    fn look(&mut self, world: &mut World);

    /// Whether they have what they wanted.
    fn is_over(&self, world: &World) -> bool;

    /// It is as it should be.
    fn check(&mut self, world: &mut World);
}

/// How a story went for the client that may die in it.
struct Told {
    steps: u64,
    answers: u64,
    died: bool,
}

/// Tells a story, in which the client `victim` dies once at a step of it.
fn tell<S: Story>(victim: usize, doom: Option<(u64, Death)>) -> Told {
    let (mut world, mut story) = S::begin();
    world.loud = number("GROTTO_SIM_DEATH").is_some();
    let client = &mut world.clients[victim];
    let (steps, answers) = (client.steps, client.answers);
    client.doom = doom.map(|(step, death)| (steps + step, death));
    let mut looks = 0;
    while !(story.is_over(&world) && world.is_quiet()) {
        looks += 1;
        assert!(looks < LOOKS, "it never ended: {}", super::check::state(&world));
        story.look(&mut world);
        pause(&mut world);
    }
    let client = &mut world.clients[victim];
    client.doom = None;
    let told = Told {
        steps: client.steps - steps,
        answers: client.answers - answers,
        died: 0 < client.crashes,
    };
    story.check(&mut world);
    told
}

fn pause(world: &mut World) {
    world.run(Duration::from_secs(1), |_| false);
}

/// Tells a story with a death at each step, until the step is one that the story does not have.
fn survives<S: Story>(victim: usize, least: u64) {
    if let Some(step) = number("GROTTO_SIM_DEATH") {
        let death = number("GROTTO_SIM_DEATH_KIND").unwrap_or_default() as usize;
        tell::<S>(victim, Some((step, DEATHS[death])));
        return;
    }
    let calm = tell::<S>(victim, None);
    assert!(!calm.died);
    // An answer is taken in a step of its own, and what was asked was asked in one.
    assert!(calm.answers < calm.steps && least <= calm.steps, "only {} steps", calm.steps);
    for death in DEATHS {
        let points = each_point::<S>(victim, death);
        assert!(least <= points, "only {points} points of {death:?}");
    }
}

/// How many points a story has at which the program can die so; it survives each.
fn each_point<S: Story>(victim: usize, death: Death) -> u64 {
    let (next, over) = (&AtomicU64::new(1), &AtomicBool::new(false));
    let work = move || {
        let (mut failed, mut points) = (Vec::new(), 0);
        while !over.load(Ordering::Relaxed) && failed.len() < 3 {
            let step = next.fetch_add(1, Ordering::Relaxed);
            let told = panic::catch_unwind(|| tell::<S>(victim, Some((step, death))));
            match told {
                Ok(told) if told.died => points += 1,
                Ok(_) => over.store(true, Ordering::Relaxed),
                Err(_) => failed.push(step),
            }
        }
        (failed, points)
    };
    let (mut failed, mut points) = (Vec::new(), 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (more, some) = thread.join().unwrap();
            failed.extend(more);
            points += some;
        }
    });
    failed.sort_unstable();
    assert!(failed.is_empty(), "client {victim}, {death:?} at steps {failed:?}");
    points
}
