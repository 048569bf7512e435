//! The storage: the objects of a timeline.

/// A set of numbers, or of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Set(pub(crate) u8);

impl Set {
    pub(crate) fn of(items: &[u8]) -> Self {
        items.iter().fold(Self::default(), |set, item| set.with(*item))
    }

    /// Returns the numbers from 1 to `last`.
    pub(crate) fn up_to(last: u8) -> Self {
        Self(((1_u16 << (last + 1)) - 2) as u8)
    }

    pub(crate) fn has(self, item: u8) -> bool {
        self.0 >> item & 1 == 1
    }

    pub(crate) fn with(self, item: u8) -> Self {
        Self(self.0 | 1 << item)
    }

    pub(crate) fn without(self, item: u8) -> Self {
        Self(self.0 & !(1 << item))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn lowest(self) -> Option<u8> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as u8)
    }

    pub(crate) fn highest(self) -> Option<u8> {
        self.0.checked_ilog2().map(|item| item as u8)
    }

    /// Returns the items from the lowest to the highest.
    pub(crate) fn items(self) -> impl DoubleEndedIterator<Item = u8> {
        (0..8).filter(move |item| self.has(*item))
    }
}

/// Which step: the order in which steps came into being. It is the step's root.
pub(crate) type Id = u8;

/// Which actor.
pub(crate) type Who = u8;

/// The numbers of a timeline are 1 to this.
pub(crate) const HIGHEST: u8 = 7;

/// The object of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Object {
    #[default]
    Nothing,
    Step(Id),
    /// It replaced this step.
    Marker(Id),
    /// The session was deleted by this actor.
    End(Who),
}

/// The folder of a timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timeline {
    objects: [Object; HIGHEST as usize],
    /// The numbers with a sidecar.
    pub(crate) hidden: Set,
    /// The numbers in gap objects.
    pub(crate) gaps: Set,
    /// The numbers whose marker or END is older than 7 days.
    pub(crate) old: Set,
    /// The head hint; 0 if there is none.
    pub(crate) hint: u8,
    /// The copy or fork that has written the hint, plus 1; 0 for others.
    pub(crate) hint_by: Who,
    /// The steps in the catalogue.
    pub(crate) catalogue: Set,
    /// A deletion of all numbers up to this one is done.
    pub(crate) cleared: u8,
}

impl Timeline {
    pub(crate) fn get(&self, number: u8) -> Object {
        self.objects.get(usize::from(number).wrapping_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn put(&mut self, number: u8, object: Object) {
        self.objects[usize::from(number) - 1] = object;
        self.old = self.old.without(number);
    }

    /// Calls the actors by other names.
    pub(crate) fn rename(&mut self, renamed: impl Fn(Who) -> Who) {
        for object in &mut self.objects {
            if let Object::End(who) = object {
                *who = renamed(*who);
            }
        }
        if self.hint_by > 0 {
            self.hint_by = renamed(self.hint_by - 1) + 1;
        }
    }

    /// Returns the numbers of all objects that fulfil a condition.
    pub(crate) fn numbers(&self, is_meant: impl Fn(Object) -> bool) -> Set {
        (1..=HIGHEST).filter(|number| is_meant(self.get(*number))).fold(Set::default(), Set::with)
    }

    /// Returns the numbers of all objects that count: an object in a gap was written too
    /// late.
    pub(crate) fn present(&self) -> Set {
        self.numbers(|object| object != Object::Nothing).minus(self.gaps)
    }

    /// Returns the steps that count.
    pub(crate) fn steps(&self) -> Set {
        let step = |number: u8| if let Object::Step(id) = self.get(number) { Some(id) } else { None };
        self.present().items().filter_map(step).fold(Set::default(), Set::with)
    }

    /// Returns the highest END, or 0.
    pub(crate) fn end(&self) -> u8 {
        self.numbers(|object| matches!(object, Object::End(_))).minus(self.gaps).highest().unwrap_or(0)
    }
}
