Rails.application.routes.draw do
  get "up" => "notes#up"
  resources :notes, only: %i[index create]
end
