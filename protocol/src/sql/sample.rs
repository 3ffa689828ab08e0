//! Chooses the rows of a sample: uniformly, and the same for the same seed.

use std::collections::BTreeSet;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and even enough to choose rows.
pub struct Random(u64);

impl Random {
    /// The numbers that `seed` begins.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is even to within bound / 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// `n` distinct numbers below `of`, in ascending order; all of them where there are no more.
/// Floyd's algorithm: one draw for each.
pub fn choose(random: &mut Random, n: usize, of: u64) -> BTreeSet<u64> {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    if n >= of {
        return (0..of).collect();
    }
    let mut chosen = BTreeSet::new();
    for last in of - n..of {
        let drawn = random.below(last + 1);
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_distinct_in_range_and_the_same_for_the_same_seed() {
        let choice = choose(&mut Random::new(7), 100, 1000);
        assert_eq!(choice.len(), 100);
        assert!(choice.iter().all(|&n| n < 1000));
        assert_eq!(choice, choose(&mut Random::new(7), 100, 1000));
        assert_ne!(choice, choose(&mut Random::new(8), 100, 1000));
        assert_eq!(choose(&mut Random::new(7), 5, 3).len(), 3);
    }

    #[test]
    fn every_row_is_about_as_likely_as_another() {
        let mut counts = [0u32; 20];
        for seed in 0..4000 {
            choose(&mut Random::new(seed), 5, 20).iter().for_each(|&n| counts[n as usize] += 1);
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
