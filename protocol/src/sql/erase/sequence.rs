//! The order of deletes: children before their parents; stores that refer to each other in a circle
//! stand together.

/// Groups of the stores `0..n`, children first. `references` are pairs of child and parent.
/// A group of several stores is a circle. The same input gives the same order.
pub fn children_first(n: usize, references: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); n];
    for &(child, parent) in references {
        if child != parent && !children[parent].contains(&child) {
            children[parent].push(child);
        }
    }
    // Tarjan's algorithm, without recursion: from parents to children, a group is complete before
    // the one that leads to it.
    const NEW: usize = usize::MAX;
    let mut number = vec![NEW; n];
    let mut low = vec![0; n];
    let mut open = vec![false; n];
    let (mut stack, mut groups, mut count) = (Vec::new(), Vec::new(), 0);
    for start in 0..n {
        if number[start] != NEW {
            continue;
        }
        let mut calls = vec![(start, 0)];
        while let Some((at, place)) = calls.pop() {
            if place == 0 {
                number[at] = count;
                low[at] = count;
                count += 1;
                stack.push(at);
                open[at] = true;
            }
            if let Some(&child) = children[at].get(place) {
                calls.push((at, place + 1));
                if number[child] == NEW {
                    calls.push((child, 0));
                } else if open[child] {
                    low[at] = low[at].min(number[child]);
                }
                continue;
            }
            if let Some(&(caller, _)) = calls.last() {
                low[caller] = low[caller].min(low[at]);
            }
            if low[at] == number[at] {
                let mut group = Vec::new();
                while let Some(top) = stack.pop() {
                    open[top] = false;
                    group.push(top);
                    if top == at {
                        break;
                    }
                }
                group.sort_unstable();
                groups.push(group);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stand_before_their_parents_whatever_the_order_of_input() {
        // 2 refers to 1, 1 to 0; 3 to 0.
        let groups = children_first(4, &[(1, 0), (2, 1), (3, 0)]);
        let place = |store| groups.iter().position(|group| group == &[store]).unwrap();
        assert!(place(2) < place(1) && place(1) < place(0) && place(3) < place(0));
    }

    #[test]
    fn a_circle_is_one_group_between_its_children_and_its_parents() {
        // 0 and 1 refer to each other; 2 refers to 1; 1 refers to 3; 4 to itself.
        let groups = children_first(5, &[(0, 1), (1, 0), (2, 1), (1, 3), (4, 4)]);
        let place = |group: &[usize]| groups.iter().position(|other| other == group).unwrap();
        assert!(place(&[2]) < place(&[0, 1]) && place(&[0, 1]) < place(&[3]));
        assert!(groups.contains(&vec![4]));
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let references: Vec<_> = (1..100_000).map(|child| (child, child - 1)).collect();
        assert_eq!(children_first(100_000, &references).len(), 100_000);
    }
}
