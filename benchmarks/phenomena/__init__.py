"""What the machines do that makes them worth looking at: one module measures and draws each."""
