"""How does a person talk with a model, in a terminal or in one shot?

Modules import downwards only, from this order:

    commands                    what a line that begins with a slash does to a `Repl`
    repl                        reads and answers in turn; knows its commands by name alone
    comparison, side_by_side    several models in the place of one, in a chat and in one shot
    telling, rounds             what is said of their replies, and what can be voted on
    seats, standing, votes      who is compared, and what was preferred
    oneshot, replying           how one reply comes onto the screen
    view, talker                how it is drawn, and who gives it
    drawing, screen, blocks     a reply on a screen; blocks with structure, leaves, cuts, markup
    loading, keyboard           what is seen, and what is typed, until a model is there
    session, saved, meter       what was said, and how much
    reading                     a question from the keyboard, with line_editor, history, lines
"""
