"""The SDK without `async`: the same verbs, run by an event loop on a thread of its own."""
