"""What the reference makes of docstrings: `Example:` is a section of code, as `Examples:` is."""

import griffe


class ExampleSections(griffe.Extension):
    """Lets an example in the singular be shown as code, and not as quoted text."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rename the section before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
