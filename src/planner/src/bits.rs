//! A set of small integers: instance types of a pool, pod shapes that a node refused.

/// Positions that are in the set, 64 to a word. Sets of one universe have one length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bits(Vec<u64>);

impl Bits {
    pub fn empty(len: usize) -> Self {
        Bits(vec![0; len.div_ceil(64)])
    }

    pub fn from_fn(len: usize, mut test: impl FnMut(usize) -> bool) -> Self {
        let mut made = Self::empty(len);
        (0..len).filter(|position| test(*position)).for_each(|position| made.insert(position));
        made
    }

    /// Grows the universe when `position` lies outside.
    pub fn insert(&mut self, position: usize) {
        let word = position / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (position % 64);
    }

    pub fn contains(&self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    pub fn remove(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word &= !(1 << (position % 64));
        }
    }

    /// The first position in the set that is not below `from`.
    pub fn next(&self, from: usize) -> Option<usize> {
        let mut left = self.0.get(from / 64)? & (u64::MAX << (from % 64));
        let mut index = from / 64;
        while left == 0 {
            index += 1;
            left = *self.0.get(index)?;
        }
        Some(index * 64 + left.trailing_zeros() as usize)
    }

    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Keeps what `other` has too.
    pub fn retain(&mut self, other: &Bits) {
        for (position, word) in self.0.iter_mut().enumerate() {
            *word &= other.0.get(position).copied().unwrap_or(0);
        }
    }

    /// Keeps the positions that pass, asking in ascending order.
    pub fn keep(&mut self, mut test: impl FnMut(usize) -> bool) {
        for (index, word) in self.0.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                if !test(index * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    pub fn and(&self, other: &Bits) -> Bits {
        let mut both = self.clone();
        both.retain(other);
        both
    }

    pub fn union(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub fn intersects(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                (left != 0).then(|| {
                    left &= left - 1;
                    index * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(a in prop::collection::btree_set(0usize..200, 0..40), b in prop::collection::btree_set(0usize..200, 0..40)) {
            let of = |set: &BTreeSet<usize>| Bits::from_fn(200, |p| set.contains(&p));
            let list = |bits: &Bits| bits.iter().collect::<Vec<_>>();
            let (left, right) = (of(&a), of(&b));
            prop_assert_eq!(list(&left.and(&right)), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(left.intersects(&right), !a.is_disjoint(&b));
            prop_assert_eq!(left.is_empty(), a.is_empty());
            let mut both = left.clone();
            both.union(&right);
            prop_assert_eq!(list(&both), a.union(&b).copied().collect::<Vec<_>>());
            let mut kept = left.clone();
            kept.keep(|position| b.contains(&position));
            prop_assert_eq!(kept, left.and(&right));
            prop_assert_eq!((0..210).map(|from| left.next(from)).collect::<Vec<_>>(), (0..210).map(|from| a.range(from..).next().copied()).collect::<Vec<_>>());
            let mut fewer = left.clone();
            b.iter().for_each(|position| fewer.remove(*position));
            prop_assert_eq!(list(&fewer), a.difference(&b).copied().collect::<Vec<_>>());
        }
    }
}
