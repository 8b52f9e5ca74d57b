/// Generates the setters of a builder. Each one calls the method of the same name on a field of the
/// builder.
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
