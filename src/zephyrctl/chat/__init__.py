"""How does a person talk with a model, in a terminal or in one shot?

Modules import downwards only:

    commands          what a line that begins with a slash does to a `Repl`
    repl              reads and answers in turn; finds the commands by their names in the catalogue
    comparison        several models in the place of one        side_by_side  the same in one shot
    seats, votes      who is compared, and what was preferred
    replying          one reply onto the screen                 oneshot       one without a chat
    view, talker      how it is drawn, and who gives it
    session, meter    what was said, and how much
    reading           a question from the keyboard: line_editor, completing, history, lines
"""
