"""The commands of `temporal-graphql`, a module for each: what none but it needs is loaded with it."""
