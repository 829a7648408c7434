"""Whatever draws images of a class: one family a file behind one seam, and what training leaves on disk."""
