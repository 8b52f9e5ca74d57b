/// Setters of a builder. Each hands its argument to the method of its name that a field of the builder has.
macro_rules! setters {
    ($field:ident: $($(#[$doc:meta])* fn $name:ident($argument:ident: $given:ty);)+) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $argument: $given) -> Self {
            self.$field.$name($argument);
            self
        }
    )+};
}

pub(crate) use setters;
