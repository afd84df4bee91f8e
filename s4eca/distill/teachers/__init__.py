"""The teachers, a file each kind; `s4eca.registry.TEACHERS` names them."""
