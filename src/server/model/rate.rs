//! How often something may be done, by whom. Not on the disk: a restart forgives.

use std::time::Duration;

use super::{expiring::Expiring, refusal::Refusal, settings::Rate, step::Step};
use crate::time::Timestamp;

/// What has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limited {
    /// Attempts to log in, by account.
    Login,
    /// The same by address, whatever the account: who guesses at many is slowed down too.
    LoginFrom,
    /// Attempts to prove who one is, by account. Apart from logins: whoever guesses there must
    /// not keep the owner from doing anything here.
    Proof,
    /// Attempts to register, by address.
    Register,
    /// Events and messages for devices sent, rooms made, members moved; by account.
    Send,
    /// Reports to those who run the server, by account: many would push others out.
    Report,
    /// Searches for people and rooms, by account: they look at many.
    Search,
}

/// Buckets that fill by one each pause. One that is full is not kept.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    not_full: Expiring<(Limited, String), ()>,
}

impl Buckets {
    /// Takes one out.
    ///
    /// # Errors
    /// The time to wait for the next one, when the bucket is empty.
    fn take(&mut self, key: (Limited, String), rate: Rate, now: Timestamp) -> Result<(), Duration> {
        let full_at = self.not_full.get(&key, now).map_or(now, |(full_at, ())| *full_at);
        let next = full_at.plus(rate.pause);
        let size = rate.pause.saturating_mul(rate.burst.max(1));
        let wait = next.since(now).saturating_sub(size);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.not_full.put(key, (next, ()), now);
        Ok(())
    }
}

/// How many accounts one address logs in to, as a household or an office has them.
const ACCOUNTS_OF_ADDRESS: u32 = 6;

fn shared(rate: Rate) -> Rate {
    let burst = rate.burst.saturating_mul(ACCOUNTS_OF_ADDRESS);
    Rate { burst, pause: rate.pause / ACCOUNTS_OF_ADDRESS }
}

impl Step<'_> {
    /// Counts that `who` does this once more.
    ///
    /// # Errors
    /// `M_LIMIT_EXCEEDED` with the time to wait.
    pub(crate) fn limit(&mut self, what: Limited, who: &str) -> Result<(), Refusal> {
        let rates = self.settings.rates;
        let rate = match what {
            Limited::Login | Limited::Proof | Limited::Report => rates.login,
            Limited::LoginFrom => shared(rates.login),
            Limited::Register => rates.register,
            Limited::Search => rates.search,
            Limited::Send => rates.send,
        };
        let taken = self.volatile.buckets.take((what, who.to_owned()), rate, self.now);
        taken.map_err(Refusal::too_often)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_burst_one_waits_for_the_next() {
        let rate = Rate { burst: 2, pause: Duration::from_secs(10) };
        let mut buckets = Buckets::default();
        let mut take = |who: &str, now: u64| {
            buckets.take((Limited::Login, who.to_owned()), rate, Timestamp(now))
        };
        assert_eq!(take("a", 1_000), Ok(()));
        assert_eq!(take("a", 1_000), Ok(()));
        assert_eq!(take("a", 1_000), Err(Duration::from_secs(10)));
        assert_eq!(take("b", 1_000), Ok(()), "others are not concerned");
        assert_eq!(take("a", 10_999), Err(Duration::from_millis(1)));
        assert_eq!(take("a", 11_000), Ok(()));
        assert_eq!(take("a", 11_000), Err(Duration::from_secs(10)));
    }
}
