namespace plumbline::topology {}
