//! The order that Go's `sort.Slice` gives: pattern-defeating quicksort, which leaves equals in an order of its own.
//!
//! Upstream sorts the NodeClaims in flight by their number of pods before each pod, so which of several equally full ones takes
//! the pod follows from this algorithm's steps (Go 1.26, `sort/zsortfunc.go`; its constants are kept). Up to twelve elements it
//! is an insertion sort.

/// Longest stretch that is sorted by insertion.
const INSERTION: usize = 12;
/// Shortest stretch of which the pivot is a median of medians, and which is worth repairing when nearly sorted.
const LONG: usize = 50;
/// Pairs out of order that are repaired before giving up.
const REPAIRS: usize = 5;
/// Comparisons out of order when three medians of three each find their elements reversed.
const ALL_REVERSED: usize = 12;

/// Sorts by key, ascending.
pub fn sort_like_go<T>(items: &mut [T], key: impl Fn(&T) -> usize) {
    if items.is_sorted_by_key(&key) {
        return;
    }
    let length = items.len();
    let mut sorter = Sorter { items, key };
    sorter.sort(0, length, usize::BITS - length.leading_zeros());
}

struct Sorter<'a, T, K> {
    items: &'a mut [T],
    key: K,
}

#[derive(PartialEq)]
enum Hint {
    Unknown,
    Increasing,
    Decreasing,
}

impl<T, K: Fn(&T) -> usize> Sorter<'_, T, K> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.key)(&self.items[a]) < (self.key)(&self.items[b])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.items.swap(a, b);
    }

    /// Sorts `low..high`; `limit` bad partitions later it falls back to a heap sort.
    fn sort(&mut self, mut low: usize, mut high: usize, mut limit: u32) {
        let (mut balanced, mut partitioned) = (true, true);
        loop {
            let length = high - low;
            if length <= INSERTION {
                return self.insertion_sort(low, high);
            }
            if limit == 0 {
                return self.heap_sort(low, high);
            }
            if !balanced {
                self.break_patterns(low, high);
                limit -= 1;
            }
            let (mut pivot, mut hint) = self.choose_pivot(low, high);
            if hint == Hint::Decreasing {
                self.items[low..high].reverse();
                pivot = (high - 1) - (pivot - low);
                hint = Hint::Increasing;
            }
            if balanced && partitioned && hint == Hint::Increasing && self.repair(low, high) {
                return;
            }
            if low > 0 && !self.less(low - 1, pivot) {
                low = self.partition_equal(low, high, pivot);
                continue;
            }
            let (middle, already) = self.partition(low, high, pivot);
            partitioned = already;
            let (left, right) = (middle - low, high - middle);
            balanced = left.min(right) >= length / 8;
            if left < right {
                self.sort(low, middle, limit);
                low = middle + 1;
            } else {
                self.sort(middle + 1, high, limit);
                high = middle;
            }
        }
    }

    fn insertion_sort(&mut self, low: usize, high: usize) {
        for start in low + 1..high {
            let mut position = start;
            while position > low && self.less(position, position - 1) {
                self.swap(position, position - 1);
                position -= 1;
            }
        }
    }

    fn heap_sort(&mut self, low: usize, high: usize) {
        let length = high - low;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(root, length, low);
        }
        for end in (0..length).rev() {
            self.swap(low, low + end);
            self.sift_down(0, end, low);
        }
    }

    fn sift_down(&mut self, mut root: usize, length: usize, first: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= length {
                return;
            }
            if child + 1 < length && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.swap(first + root, first + child);
            root = child;
        }
    }

    /// Scatters three elements, by a generator that starts from the length.
    fn break_patterns(&mut self, low: usize, high: usize) {
        let length = high - low;
        let mut state = length as u64;
        let mask = (1u64 << (usize::BITS - length.leading_zeros())) - 1;
        let middle = low + length / 4 * 2;
        for position in middle - 1..=middle + 1 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let other = usize::try_from(state & mask).expect("the mask is as wide as the length");
            self.swap(position, low + if other >= length { other - length } else { other });
        }
    }

    fn choose_pivot(&self, low: usize, high: usize) -> (usize, Hint) {
        let length = high - low;
        let mut reversed = 0;
        let quarters = [1, 2, 3].map(|quarter| low + length / 4 * quarter);
        let [a, b, c] = if length >= LONG { quarters.map(|at| self.median(at - 1, at, at + 1, &mut reversed)) } else { quarters };
        let pivot = self.median(a, b, c, &mut reversed);
        let hint = match reversed {
            0 => Hint::Increasing,
            ALL_REVERSED => Hint::Decreasing,
            _ => Hint::Unknown,
        };
        (pivot, hint)
    }

    fn median(&self, a: usize, b: usize, c: usize, reversed: &mut usize) -> usize {
        let mut ordered = |a: usize, b: usize| {
            if self.less(b, a) {
                *reversed += 1;
                (b, a)
            } else {
                (a, b)
            }
        };
        let (a, b) = ordered(a, b);
        let (b, _) = ordered(b, c);
        ordered(a, b).1
    }

    /// Finishes a nearly sorted stretch, or gives up.
    fn repair(&mut self, low: usize, high: usize) -> bool {
        let mut at = low + 1;
        for _ in 0..REPAIRS {
            while at < high && !self.less(at, at - 1) {
                at += 1;
            }
            if at == high {
                return true;
            }
            if high - low < LONG {
                return false;
            }
            self.swap(at, at - 1);
            if at - low >= 2 {
                let mut left = at - 1;
                while left >= 1 && self.less(left, left - 1) {
                    self.swap(left, left - 1);
                    left -= 1;
                }
            }
            if high - at >= 2 {
                let mut right = at + 1;
                while right < high && self.less(right, right - 1) {
                    self.swap(right, right - 1);
                    right += 1;
                }
            }
        }
        false
    }

    /// Elements less than the pivot to the left of it; whether nothing had to move.
    fn partition(&mut self, low: usize, high: usize, pivot: usize) -> (usize, bool) {
        self.swap(low, pivot);
        let (mut i, mut j) = (low + 1, high - 1);
        let mut untouched = true;
        loop {
            while i <= j && self.less(i, low) {
                i += 1;
            }
            while i <= j && !self.less(j, low) {
                j -= 1;
            }
            if i > j {
                self.swap(j, low);
                return (j, untouched);
            }
            self.swap(i, j);
            untouched = false;
            i += 1;
            j -= 1;
        }
    }

    /// Elements equal to the pivot to the left; where the greater ones begin.
    fn partition_equal(&mut self, low: usize, high: usize, pivot: usize) -> usize {
        self.swap(low, pivot);
        let (mut i, mut j) = (low + 1, high - 1);
        loop {
            while i <= j && !self.less(low, i) {
                i += 1;
            }
            while i <= j && self.less(low, j) {
                j -= 1;
            }
            if i > j {
                return i;
            }
            self.swap(i, j);
            i += 1;
            j -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sort_like_go;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts(keys in prop::collection::vec(0usize..20, 0..400)) {
            let mut items: Vec<(usize, usize)> = keys.iter().copied().zip(0..).collect();
            sort_like_go(&mut items, |(key, _)| *key);
            prop_assert!(items.is_sorted_by_key(|(key, _)| *key));
            items.sort_by_key(|(_, position)| *position);
            prop_assert_eq!(items.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
        }
    }

    #[test]
    fn twelve_keep_equals_in_order() {
        let mut items: Vec<(usize, usize)> = (0..12).map(|n| (n % 3, n)).collect();
        sort_like_go(&mut items, |(key, _)| *key);
        assert!(items.is_sorted());
    }

    /// Written by Go 1.26's `sort.Slice` on 64 elements `(n * 7 % 5, n)`.
    #[test]
    fn more_come_out_as_go_orders_them() {
        let mut items: Vec<(usize, usize)> = (0..64).map(|n| (n * 7 % 5, n)).collect();
        sort_like_go(&mut items, |(key, _)| *key);
        let positions: Vec<usize> = items.into_iter().map(|(_, position)| position).collect();
        assert_eq!(positions, GO_64);
    }

    const GO_64: [usize; 64] = [
        45, 35, 60, 25, 30, 5, 55, 20, 40, 50, 10, 15, 0, 58, 18, 48, 8, 38, 53, 43, 63, 33, 13, 23, 28, 3, 31, 16, 26, 1, 61, 56, 6, 21,
        51, 11, 36, 46, 41, 54, 34, 29, 24, 14, 44, 59, 39, 4, 19, 49, 9, 37, 52, 7, 27, 32, 22, 57, 47, 12, 2, 42, 62, 17,
    ];
}
