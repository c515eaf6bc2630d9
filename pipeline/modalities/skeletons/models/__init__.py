"""Models of skeletons: four families in plain torch, at four sizes each."""
