//! A small generator of our own, so that a seed means the same order on every platform and in every release.

/// `SplitMix64` (Steele, Lea and Flood, 2014): 64 bits of state, equidistributed, passes `BigCrush`.
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    /// A stream of numbers for each pair of a seed and a stream number.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // Finalising the seed first keeps (seed, stream + 1) and (seed + 1, stream) far apart.
        let mut seeded = Self { state: seed };
        Self { state: seeded.next().wrapping_add(stream) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, each equally likely (Lemire's multiplication, with rejection).
    fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            let (high, low) = (product >> 64, product & u128::from(u64::MAX));
            if low >= u128::from(threshold) {
                return u64::try_from(high).expect("the high half of a 128-bit number has 64 bits");
            }
        }
    }

    /// Fisher-Yates: every order equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u64::try_from(last + 1).expect("usize has at most 64 bits");
            let other = usize::try_from(self.below(bound)).expect("below a usize bound");
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_sequence() {
        let mut rng = Rng { state: 1_234_567 };
        let found: Vec<u64> = (0..5).map(|_| rng.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(found, published);
    }

    #[test]
    fn every_order_of_three_is_as_likely_as_any_other() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6_000 {
            let mut items = [0, 1, 2];
            Rng::new(seed, 0).shuffle(&mut items);
            *counts.entry(items).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1,000 expected, standard deviation 29: five of them.
        assert!(counts.values().all(|&n| n.abs_diff(1_000) < 145), "{counts:?}");
    }
}
